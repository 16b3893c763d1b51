//! Configuration and process life: what nginx calls apart from requests.

use std::ffi::{c_char, c_void};

use nginx_sys::{
    NGX_ERROR, NGX_OK, NGX_PROCESS_SINGLE, NGX_PROCESS_WORKER, ngx_array_push, ngx_array_t,
    ngx_conf_t, ngx_cycle_t, ngx_http_conf_ctx_t, ngx_http_core_main_conf_t, ngx_http_core_module,
    ngx_http_get_variable_index, ngx_http_handler_pt, ngx_http_module,
    ngx_http_phases_NGX_HTTP_PREACCESS_PHASE as PREACCESS,
    ngx_http_phases_NGX_HTTP_REWRITE_PHASE as REWRITE, ngx_int_t, ngx_pool_cleanup_add, ngx_pool_t,
    ngx_process, ngx_str_t,
};

use super::realip::{self, Realip};
use super::{
    POOL_ALIGNMENT, body, commands, edge, events, handlers, limit_zone, lines, module, settings,
    shared, variables,
};
use crate::directives::{DEFAULT_SNAPSHOT_DIR, LocationConf, MainConf, SnapshotDir};
use crate::{guard, record, worker};

const FAILED: ngx_int_t = NGX_ERROR as ngx_int_t;
const DONE: ngx_int_t = NGX_OK as ngx_int_t;

pub(super) extern "C" fn create_main(cf: *mut ngx_conf_t) -> *mut c_void {
    // SAFETY: nginx calls with the configuration being read.
    edge(std::ptr::null_mut(), || unsafe { keep((*cf).pool, MainConf::default()) })
}

pub(super) extern "C" fn create_location(cf: *mut ngx_conf_t) -> *mut c_void {
    // SAFETY: nginx calls with the configuration being read.
    edge(std::ptr::null_mut(), || unsafe { keep((*cf).pool, LocationConf::default()) })
}

/// Moves a value into memory of a pool, which drops it when it is destroyed; null
/// where nginx is out of memory.
///
/// # Safety
/// `pool` must be a pool of nginx.
unsafe fn keep<T>(pool: *mut ngx_pool_t, value: T) -> *mut c_void {
    extern "C" fn release<T>(value: *mut c_void) {
        // SAFETY: nginx calls once, with the memory that was filled below.
        edge((), || unsafe { value.cast::<T>().drop_in_place() });
    }
    const { assert!(align_of::<T>() <= POOL_ALIGNMENT) };
    // SAFETY: by this function's contract; the memory has the size and alignment of `T`.
    unsafe {
        let Some(cleanup) = ngx_pool_cleanup_add(pool, size_of::<T>()).as_mut() else {
            return std::ptr::null_mut();
        };
        cleanup.data.cast::<T>().write(value);
        cleanup.handler = Some(release::<T>);
        cleanup.data
    }
}

pub(super) extern "C" fn merge_location(
    cf: *mut ngx_conf_t,
    outer: *mut c_void,
    inner: *mut c_void,
) -> *mut c_char {
    edge(commands::CONF_ERROR, || {
        // SAFETY: nginx calls with two different values that `create_location` made.
        let (outer, inner) =
            unsafe { (&*outer.cast::<LocationConf>(), &mut *inner.cast::<LocationConf>()) };
        inner.inherit(outer);
        // SAFETY: nginx calls while it merges the place `inner` belongs to.
        inner.late_realip = unsafe { realip::is_late(cf) };
        std::ptr::null_mut()
    })
}

pub(super) extern "C" fn before_configuration(cf: *mut ngx_conf_t) -> ngx_int_t {
    guard::install_hook();
    // SAFETY: nginx calls with the configuration being read, before its variables are fixed.
    edge(FAILED, || unsafe { variables::register(cf) })
}

pub(super) extern "C" fn after_configuration(cf: *mut ngx_conf_t) -> ngx_int_t {
    // SAFETY: nginx calls with the configuration being read, its `http` block complete.
    edge(FAILED, || unsafe { complete(cf) })
}

/// # Safety
/// `cf` must be the configuration being read, its `http` block complete.
unsafe fn complete(cf: *mut ngx_conf_t) -> ngx_int_t {
    // SAFETY: by this function's contract.
    unsafe {
        // Always, also without `nwaf on`: see `shared::table`.
        if shared::request(cf) != DONE {
            return FAILED;
        }
        let Some(conf) = main_conf(cf) else { return FAILED };
        if !conf.enabled {
            return DONE;
        }
        if limit_zone::request(cf, conf) != DONE || !settings::complete(cf, conf) {
            return FAILED;
        }
        if conf.snapshot.is_none() {
            let directive = "nwaf_snapshot (default)";
            match commands::followed(cf, directive, DEFAULT_SNAPSHOT_DIR, SnapshotDir::parse) {
                Some(dir) => conf.snapshot = Some(dir),
                None => return FAILED,
            }
        }
        const NAME: &str = "request_id";
        let mut name = ngx_str_t { len: NAME.len(), data: NAME.as_ptr().cast_mut() };
        let index = ngx_http_get_variable_index(cf, &raw mut name);
        if index == FAILED {
            return FAILED;
        }
        conf.request_id = usize::try_from(index).ok();
        body::install();
        add_handlers(cf)
    }
}

/// nginx walks the handlers of a phase from the last to the first.
///
/// # Safety
/// As for `complete`.
unsafe fn add_handlers(cf: *mut ngx_conf_t) -> ngx_int_t {
    // SAFETY: by this function's contract; `core` is nginx's own configuration,
    // with one list of handlers for each phase.
    unsafe {
        let context = &*(*cf).ctx.cast::<ngx_http_conf_ctx_t>();
        let core_index = (&raw const ngx_http_core_module.ctx_index).read();
        let core = &mut *(*context.main_conf.add(core_index)).cast::<ngx_http_core_main_conf_t>();
        // Pushed last, so asked first, before a `return` or `rewrite` of the location.
        let Some(last) = push(&mut core.phases[REWRITE as usize].handlers) else { return FAILED };
        *last = Some(handlers::decide_first);
        // Moved to the front, so asked last, after a location's realip.
        let late = &mut core.phases[PREACCESS as usize].handlers;
        if push(late).is_none() {
            return FAILED;
        }
        let list = late.as_slice_mut::<ngx_http_handler_pt>();
        list.rotate_right(1);
        list[0] = Some(handlers::decide_last);
    }
    // SAFETY: as above.
    if unsafe { events::add_handler(cf) } { DONE } else { FAILED }
}

/// # Safety
/// `list` must be an initialised list of phase handlers.
pub(super) unsafe fn push(list: &mut ngx_array_t) -> Option<&mut ngx_http_handler_pt> {
    // SAFETY: by this function's contract; the new element is written before it is read.
    unsafe {
        let place = ngx_array_push(list).cast::<ngx_http_handler_pt>();
        if place.is_null() {
            return None;
        }
        place.write(None);
        place.as_mut()
    }
}

/// # Safety
/// `cf` must be a configuration being read, inside its `http` block.
pub(super) unsafe fn main_conf<'a>(cf: *mut ngx_conf_t) -> Option<&'a mut MainConf> {
    // SAFETY: by this function's contract; the value is `create_main`'s.
    unsafe {
        let context = (*cf).ctx.cast::<ngx_http_conf_ctx_t>().as_ref()?;
        (*context.main_conf.add(module::index())).cast::<MainConf>().as_mut()
    }
}

/// The configuration is complete, those of modules that come after this one too.
pub(super) extern "C" fn after_cycle(cycle: *mut ngx_cycle_t) -> ngx_int_t {
    edge(DONE, || {
        // SAFETY: nginx calls with a complete configuration that serves nobody yet,
        // so that nobody else looks at ours while it is changed.
        unsafe {
            if let Some(context) = http_of(cycle) {
                let core_index = (&raw const ngx_http_core_module.ctx_index).read();
                let core = (*context.main_conf.add(core_index)).cast::<ngx_http_core_main_conf_t>();
                let conf = (*context.main_conf.add(module::index())).cast::<MainConf>();
                if let (Some(core), Some(conf)) = (core.as_ref(), conf.as_mut()) {
                    conf.realip = Realip::find(cycle, core);
                    events::open_ring(conf);
                }
            }
        }
        DONE
    })
}

pub(super) extern "C" fn start_process(cycle: *mut ngx_cycle_t) -> ngx_int_t {
    edge(DONE, || {
        // SAFETY: nginx sets the kind of a process before it calls.
        let kind = unsafe { (&raw const ngx_process).read() } as u32;
        // The cache's helper processes are called too, and serve nobody.
        if !matches!(kind, NGX_PROCESS_WORKER | NGX_PROCESS_SINGLE) {
            return DONE;
        }
        // SAFETY: nginx calls with the configuration this process will serve.
        let conf = unsafe { conf_of(cycle) };
        if let Some(conf) = conf.filter(|conf| conf.enabled)
            && let Some(dir) = &conf.snapshot
        {
            worker::start(dir.clone(), conf.geoip2.clone(), conf.local.clone(), shared::table());
            record::start(conf);
            lines::start();
        }
        DONE
    })
}

pub(super) extern "C" fn end_process(_cycle: *mut ngx_cycle_t) {
    // First, for it counts in what the worker gives back.
    edge((), record::stop);
    edge((), || {
        worker::stop();
        lines::write();
    });
}

/// # Safety
/// `cycle` must be a complete configuration.
unsafe fn conf_of<'a>(cycle: *mut ngx_cycle_t) -> Option<&'a MainConf> {
    // SAFETY: by this function's contract; the value is `create_main`'s.
    unsafe { (*http_of(cycle)?.main_conf.add(module::index())).cast::<MainConf>().as_ref() }
}

/// # Safety
/// As for `conf_of`.
unsafe fn http_of<'a>(cycle: *mut ngx_cycle_t) -> Option<&'a ngx_http_conf_ctx_t> {
    // SAFETY: by this function's contract; without an `http` block its place is null.
    unsafe {
        let http = (&raw const ngx_http_module.index).read();
        (*(*cycle).conf_ctx.add(http)).cast::<ngx_http_conf_ctx_t>().as_ref()
    }
}
