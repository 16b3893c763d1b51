//! The shared zone `nwaf_workers`.
//!
//! nginx maps it before it starts workers and keeps it over a reload while
//! name, size and owner stay the same. A library of another layout comes only
//! with another master, which has a zone of its own; the name in the memory is
//! checked nevertheless.

use std::ffi::c_void;
use std::sync::atomic::{AtomicPtr, Ordering};

use nginx_sys::{
    NGX_ERROR, NGX_OK, ngx_conf_t, ngx_int_t, ngx_shared_memory_add, ngx_shm_zone_t,
    ngx_slab_alloc, ngx_slab_pool_t, ngx_str_t,
};

use super::log::{self, Level};
use super::{edge, module};
use crate::zone::Table;

/// Holds [`Table`] and nginx's own book-keeping.
const SIZE: usize = 192 * 1024;
const NAME: &str = "nwaf_workers";

/// Set by the master, inherited by the workers.
static TABLE: AtomicPtr<Table> = AtomicPtr::new(std::ptr::null_mut());

/// The table of this nginx; `None` until its configuration is complete.
pub fn table() -> Option<&'static Table> {
    // SAFETY: set below to a table in shared memory. Each configuration with an
    // `http` block asks for the zone, so a worker's mapping stays as long as it.
    unsafe { TABLE.load(Ordering::Acquire).as_ref() }
}

/// Asks nginx for the zone.
///
/// # Safety
/// `cf` must be the configuration being read.
pub(super) unsafe fn request(cf: *mut ngx_conf_t) -> ngx_int_t {
    let mut name = ngx_str_t { len: NAME.len(), data: NAME.as_ptr().cast_mut() };
    // SAFETY: by this function's contract; the name is a constant and lives for ever.
    let zone = unsafe { ngx_shared_memory_add(cf, &raw mut name, SIZE, module::tag()).as_mut() };
    let Some(zone) = zone else { return NGX_ERROR as ngx_int_t };
    zone.init = Some(init);
    NGX_OK as ngx_int_t
}

/// nginx has mapped the zone; `old` is what an earlier configuration kept there.
extern "C" fn init(zone: *mut ngx_shm_zone_t, old: *mut c_void) -> ngx_int_t {
    edge(NGX_ERROR as ngx_int_t, || {
        // SAFETY: nginx calls with a mapped zone that starts with a slab pool it
        // has initialised. `old`, if any, is the table put there below. All zero
        // bytes are a valid table.
        unsafe {
            let mut place = old.cast::<Table>();
            if place.as_ref().is_none_or(|table| !table.is_named()) {
                let pool = (*zone).shm.addr.cast::<ngx_slab_pool_t>();
                place = ngx_slab_alloc(pool, size_of::<Table>()).cast::<Table>();
                if place.is_null() || !place.is_aligned() {
                    log::cycle(
                        Level::Emerg,
                        format_args!(
                            "nwaf: no room for {} bytes in zone {NAME}",
                            size_of::<Table>()
                        ),
                    );
                    return NGX_ERROR as ngx_int_t;
                }
                place.write_bytes(0, 1);
                (*place).name();
            }
            (*zone).data = place.cast();
            TABLE.store(place, Ordering::Release);
        }
        NGX_OK as ngx_int_t
    })
}
