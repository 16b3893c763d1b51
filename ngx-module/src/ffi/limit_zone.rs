//! The shared zone `nwaf_limits`: what `bans` needs of nginx.
//!
//! nginx maps it before it starts workers and keeps it over a reload while its size
//! stays the same; to a zone of another size the bans are carried over. The lock is that of
//! the zone's slab pool: when a worker dies holding it, the master lets the others in.

use std::ffi::c_void;
use std::fmt;
use std::sync::atomic::AtomicU64;

use bans::{Lock, Zone};
use nginx_sys::{
    NGX_ERROR, NGX_OK, ngx_conf_t, ngx_cycle, ngx_int_t, ngx_list_part_t, ngx_pagesize,
    ngx_shared_memory_add, ngx_shm_zone_t, ngx_shmtx_lock, ngx_shmtx_t, ngx_shmtx_unlock,
    ngx_slab_alloc, ngx_slab_pool_t, ngx_str_t,
};

use super::log::{self, Level};
use super::{bytes, edge, module, os};
use crate::directives::MainConf;

const NAME: &str = "nwaf_limits";

/// Counts and bans in shared memory.
pub type LimitZone = Zone<'static, PoolLock>;

/// The lock of a slab pool.
#[derive(Clone, Copy)]
pub struct PoolLock(*mut ngx_shmtx_t);

impl fmt::Debug for PoolLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PoolLock")
    }
}

impl Lock for PoolLock {
    fn hold<T>(&self, work: impl FnOnce() -> T) -> T {
        struct Held(*mut ngx_shmtx_t);
        impl Drop for Held {
            fn drop(&mut self) {
                // SAFETY: as below; this process holds the lock.
                unsafe { ngx_shmtx_unlock(self.0) }
            }
        }
        // SAFETY: the lock lies in a zone that stays mapped while the configuration lives
        // that this was made for, and with it everybody who has a copy.
        unsafe { ngx_shmtx_lock(self.0) };
        let _held = Held(self.0);
        #[cfg(feature = "fault-injection")]
        if DIE.get() {
            os::die();
        }
        work()
    }
}

#[cfg(feature = "fault-injection")]
thread_local! {
    /// Whether this process is to die as soon as it holds the lock.
    pub static DIE: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Asks nginx for the zone.
///
/// # Safety
/// `cf` must be the configuration being read, and `conf` its value of this module.
pub(super) unsafe fn request(cf: *mut ngx_conf_t, conf: &mut MainConf) -> ngx_int_t {
    let mut name = ngx_str_t { len: NAME.len(), data: NAME.as_ptr().cast_mut() };
    let size = conf.zone.unwrap_or_default().bytes;
    // SAFETY: by this function's contract; the name is a constant and lives for ever.
    let zone = unsafe { ngx_shared_memory_add(cf, &raw mut name, size, module::tag()).as_mut() };
    let Some(zone) = zone else { return NGX_ERROR as ngx_int_t };
    zone.init = Some(init);
    zone.data = (&raw mut *conf).cast();
    NGX_OK as ngx_int_t
}

/// nginx has mapped the zone; `old` is the value of the configuration before, where the
/// zone is the same.
extern "C" fn init(zone: *mut ngx_shm_zone_t, old: *mut c_void) -> ngx_int_t {
    edge(NGX_ERROR as ngx_int_t, || {
        // SAFETY: nginx calls with a mapped zone whose data `request` has set. The
        // configuration before lives until this one is complete.
        unsafe {
            let conf = &mut *(*zone).data.cast::<MainConf>();
            conf.limit_zone = match old.cast::<MainConf>().as_ref() {
                Some(before) => before.limit_zone,
                None => create(zone),
            };
            if conf.limit_zone.is_none() {
                let why = format_args!("nwaf: zone {NAME} cannot be used; give it another size");
                log::cycle(Level::Emerg, why);
                return NGX_ERROR as ngx_int_t;
            }
        }
        NGX_OK as ngx_int_t
    })
}

/// Makes a new zone, with the bans of the one before it.
///
/// # Safety
/// `zone` must be a zone that nginx has just mapped.
unsafe fn create(zone: *mut ngx_shm_zone_t) -> Option<LimitZone> {
    // SAFETY: by this function's contract the memory begins with a slab pool that nginx
    // has initialised, and is zero behind it; all its free pages are one block.
    let made = unsafe {
        let pool = (*zone).shm.addr.cast::<ngx_slab_pool_t>();
        let size = (*pool).pfree * (&raw const ngx_pagesize).read();
        let words = ngx_slab_alloc(pool, size).cast::<AtomicU64>();
        if words.is_null() || !words.is_aligned() {
            return None;
        }
        let words = std::slice::from_raw_parts(words, size / size_of::<AtomicU64>());
        Zone::create(words, os::random(), PoolLock(&raw mut (*pool).mutex))?
    };
    // SAFETY: nginx calls in the middle of a new configuration, when the cycle is
    // still the one before it, with all its zones mapped.
    if let Some(before) = unsafe { before() } {
        let now = os::monotonic_ms();
        before.bans(now).for_each(|ban| made.adopt(&ban, now));
    }
    Some(made)
}

/// The zone of the cycle in force.
///
/// # Safety
/// The cycle must be complete, and stay while the result is used.
unsafe fn before<'a>() -> Option<&'a LimitZone> {
    // SAFETY: by this function's contract; nginx's list holds its zones, and ours have a
    // configuration of ours as their data.
    unsafe {
        let cycle = (&raw const ngx_cycle).read().as_ref()?;
        let mut part = Some(&cycle.shared_memory.part);
        while let Some(ngx_list_part_t { elts, nelts, next }) = part {
            for nth in 0..*nelts {
                let zone = &*elts.cast::<ngx_shm_zone_t>().add(nth);
                if zone.tag == module::tag() && bytes(&zone.shm.name) == NAME.as_bytes() {
                    return zone.data.cast::<MainConf>().as_ref()?.limit_zone.as_ref();
                }
            }
            part = next.as_ref();
        }
    }
    None
}
