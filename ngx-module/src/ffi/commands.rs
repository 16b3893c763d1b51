//! The directives as nginx wants them.
//!
//! What a value means is in `directives`; here it is taken from nginx's words
//! and put into nginx's memory. Every refusal reads `directive: value "...": reason`.

use std::ffi::{c_char, c_void};
use std::ptr::null_mut;

use nginx_sys::{
    NGX_CONF_1MORE, NGX_CONF_NOARGS, NGX_CONF_TAKE1, NGX_CONF_TAKE12, NGX_HTTP_LOC_CONF,
    NGX_HTTP_LOC_CONF_OFFSET, NGX_HTTP_MAIN_CONF, NGX_HTTP_MAIN_CONF_OFFSET, NGX_HTTP_SRV_CONF,
    ngx_command_t, ngx_conf_t, ngx_http_conf_ctx_t, ngx_http_core_loc_conf_t, ngx_http_core_module,
    ngx_http_request_t, ngx_int_t, ngx_str_t, ngx_uint_t,
};
use ngx::core::NGX_CONF_ERROR;

use super::log::{self, Level};
use super::settings::setting;
use super::{bytes, edge, events, handlers, hooks};
use crate::directives::{
    BansPage, BlockStatus, BodyLimit, BodyOverflow, Checked, CountryFile, LocationConf, MainConf,
    Mode, OnError, SnapshotDir, ZoneSize,
};

type Setter = extern "C" fn(*mut ngx_conf_t, *mut ngx_command_t, *mut c_void) -> *mut c_char;

/// What answers the requests of a place.
type Handler = extern "C" fn(*mut ngx_http_request_t) -> ngx_int_t;

const ANYWHERE: u32 = NGX_HTTP_MAIN_CONF | NGX_HTTP_SRV_CONF | NGX_HTTP_LOC_CONF | NGX_CONF_TAKE1;

/// nginx reads the table up to its empty end.
pub(super) static mut COMMANDS: [ngx_command_t; 28] = [
    command(c"nwaf", ANYWHERE, NGX_HTTP_LOC_CONF_OFFSET, set_mode),
    command(
        c"nwaf_snapshot",
        NGX_HTTP_MAIN_CONF | NGX_CONF_TAKE1,
        NGX_HTTP_MAIN_CONF_OFFSET,
        set_snapshot,
    ),
    command(
        c"nwaf_geoip2",
        NGX_HTTP_MAIN_CONF | NGX_CONF_TAKE1,
        NGX_HTTP_MAIN_CONF_OFFSET,
        set_geoip2,
    ),
    command(c"nwaf_block_status", ANYWHERE, NGX_HTTP_LOC_CONF_OFFSET, set_block_status),
    command(c"nwaf_on_error", ANYWHERE, NGX_HTTP_LOC_CONF_OFFSET, set_on_error),
    command(c"nwaf_body_limit", ANYWHERE, NGX_HTTP_LOC_CONF_OFFSET, set_body_limit),
    command(c"nwaf_body_overflow", ANYWHERE, NGX_HTTP_LOC_CONF_OFFSET, set_body_overflow),
    command(
        c"nwaf_status",
        NGX_HTTP_LOC_CONF | NGX_CONF_NOARGS,
        NGX_HTTP_LOC_CONF_OFFSET,
        set_status,
    ),
    command(
        c"nwaf_journal",
        NGX_HTTP_MAIN_CONF | NGX_CONF_TAKE12,
        NGX_HTTP_MAIN_CONF_OFFSET,
        events::set_journal,
    ),
    command(
        c"nwaf_telemetry",
        NGX_HTTP_MAIN_CONF | NGX_CONF_TAKE12,
        NGX_HTTP_MAIN_CONF_OFFSET,
        events::set_telemetry,
    ),
    command(
        c"nwaf_mask",
        NGX_HTTP_MAIN_CONF | NGX_CONF_1MORE,
        NGX_HTTP_MAIN_CONF_OFFSET,
        events::set_mask,
    ),
    command(
        c"nwaf_zone",
        NGX_HTTP_MAIN_CONF | NGX_CONF_TAKE12,
        NGX_HTTP_MAIN_CONF_OFFSET,
        set_zone,
    ),
    command(
        c"nwaf_bans",
        NGX_HTTP_LOC_CONF | NGX_CONF_NOARGS | NGX_CONF_TAKE1,
        NGX_HTTP_LOC_CONF_OFFSET,
        set_bans,
    ),
    command(
        c"nwaf_metrics",
        NGX_HTTP_LOC_CONF | NGX_CONF_NOARGS,
        NGX_HTTP_LOC_CONF_OFFSET,
        set_metrics,
    ),
    setting(c"nwaf_limit"),
    setting(c"nwaf_ip_wl"),
    setting(c"nwaf_ip_lm"),
    setting(c"nwaf_host_wl"),
    setting(c"nwaf_host_lm"),
    setting(c"nwaf_mla_host_lm"),
    setting(c"nwaf_ai_extra_host_wl"),
    setting(c"nwaf_ai_extra_host_lm"),
    setting(c"nwaf_bf_detect_host_lm"),
    setting(c"nwaf_ddos_detect_host_lm"),
    setting(c"nwaf_rmq_host_exclude"),
    setting(c"nwaf_body_exclude"),
    setting(c"nwaf_put_body_exclude"),
    ngx_command_t::empty(),
];

pub(super) const fn command(
    name: &'static std::ffi::CStr,
    places: u32,
    memory: usize,
    set: Setter,
) -> ngx_command_t {
    ngx_command_t {
        name: ngx_str_t { len: name.count_bytes(), data: name.as_ptr().cast_mut().cast() },
        type_: places as ngx_uint_t,
        set: Some(set),
        conf: memory as ngx_uint_t,
        offset: 0,
        post: null_mut(),
    }
}

pub(super) const OK: *mut c_char = null_mut();
/// The reason was logged.
pub(super) const CONF_ERROR: *mut c_char = NGX_CONF_ERROR as *mut c_char;
/// nginx adds directive, file and line.
pub(super) const DUPLICATE: *mut c_char = c"is duplicate".as_ptr().cast_mut();

extern "C" fn set_mode(
    cf: *mut ngx_conf_t,
    command: *mut ngx_command_t,
    conf: *mut c_void,
) -> *mut c_char {
    edge(CONF_ERROR, || {
        // SAFETY: nginx calls with the configuration being read and the value
        // that `hooks::create_location` made for this place.
        let (conf, main) = unsafe { (&mut *conf.cast::<LocationConf>(), hooks::main_conf(cf)) };
        // SAFETY: as above.
        let answer = unsafe { set(cf, command, &mut conf.mode, Mode::parse) };
        if let Some(main) = main {
            main.enabled |= conf.mode() != Mode::Off;
        }
        answer
    })
}

extern "C" fn set_block_status(
    cf: *mut ngx_conf_t,
    command: *mut ngx_command_t,
    conf: *mut c_void,
) -> *mut c_char {
    edge(CONF_ERROR, || {
        // SAFETY: as in `set_mode`.
        unsafe {
            let conf = &mut *conf.cast::<LocationConf>();
            set(cf, command, &mut conf.block_status, BlockStatus::parse)
        }
    })
}

extern "C" fn set_on_error(
    cf: *mut ngx_conf_t,
    command: *mut ngx_command_t,
    conf: *mut c_void,
) -> *mut c_char {
    edge(CONF_ERROR, || {
        // SAFETY: as in `set_mode`.
        unsafe {
            let conf = &mut *conf.cast::<LocationConf>();
            set(cf, command, &mut conf.on_error, OnError::parse)
        }
    })
}

extern "C" fn set_body_limit(
    cf: *mut ngx_conf_t,
    command: *mut ngx_command_t,
    conf: *mut c_void,
) -> *mut c_char {
    edge(CONF_ERROR, || {
        // SAFETY: as in `set_mode`.
        unsafe {
            let conf = &mut *conf.cast::<LocationConf>();
            set(cf, command, &mut conf.body_limit, BodyLimit::parse)
        }
    })
}

extern "C" fn set_body_overflow(
    cf: *mut ngx_conf_t,
    command: *mut ngx_command_t,
    conf: *mut c_void,
) -> *mut c_char {
    edge(CONF_ERROR, || {
        // SAFETY: as in `set_mode`.
        unsafe {
            let conf = &mut *conf.cast::<LocationConf>();
            set(cf, command, &mut conf.body_overflow, BodyOverflow::parse)
        }
    })
}

extern "C" fn set_snapshot(
    cf: *mut ngx_conf_t,
    command: *mut ngx_command_t,
    conf: *mut c_void,
) -> *mut c_char {
    edge(CONF_ERROR, || {
        // SAFETY: as in `set_mode`, for the value that `hooks::create_main` made.
        unsafe {
            let conf = &mut *conf.cast::<MainConf>();
            if conf.snapshot.is_some() {
                return DUPLICATE;
            }
            conf.snapshot = followed(cf, &name(command), &value(cf), SnapshotDir::parse);
            if conf.snapshot.is_some() { OK } else { CONF_ERROR }
        }
    })
}

extern "C" fn set_geoip2(
    cf: *mut ngx_conf_t,
    command: *mut ngx_command_t,
    conf: *mut c_void,
) -> *mut c_char {
    edge(CONF_ERROR, || {
        // SAFETY: as in `set_snapshot`.
        unsafe {
            let conf = &mut *conf.cast::<MainConf>();
            if conf.geoip2.is_some() {
                return DUPLICATE;
            }
            conf.geoip2 = followed(cf, &name(command), &value(cf), CountryFile::parse);
            if conf.geoip2.is_some() { OK } else { CONF_ERROR }
        }
    })
}

extern "C" fn set_zone(
    cf: *mut ngx_conf_t,
    command: *mut ngx_command_t,
    conf: *mut c_void,
) -> *mut c_char {
    edge(CONF_ERROR, || {
        // SAFETY: as in `set_snapshot`.
        unsafe {
            let conf = &mut *conf.cast::<MainConf>();
            if conf.zone.is_some() {
                return DUPLICATE;
            }
            match ZoneSize::parse(&values(cf)) {
                Ok(zone) => {
                    conf.zone = Some(zone);
                    OK
                }
                Err((value, why)) => {
                    refuse(cf, &name(command), &value, &why);
                    CONF_ERROR
                }
            }
        }
    })
}

extern "C" fn set_bans(
    cf: *mut ngx_conf_t,
    command: *mut ngx_command_t,
    conf: *mut c_void,
) -> *mut c_char {
    edge(CONF_ERROR, || {
        // SAFETY: as in `set_mode`.
        unsafe {
            let conf = &mut *conf.cast::<LocationConf>();
            let answer = set(cf, command, &mut conf.bans, BansPage::parse);
            if answer == OK { serve(cf, command, conf, handlers::bans) } else { answer }
        }
    })
}

extern "C" fn set_status(
    cf: *mut ngx_conf_t,
    command: *mut ngx_command_t,
    conf: *mut c_void,
) -> *mut c_char {
    edge(CONF_ERROR, || {
        // SAFETY: as in `set_mode`.
        unsafe { serve(cf, command, &mut *conf.cast::<LocationConf>(), handlers::status) }
    })
}

extern "C" fn set_metrics(
    cf: *mut ngx_conf_t,
    command: *mut ngx_command_t,
    conf: *mut c_void,
) -> *mut c_char {
    edge(CONF_ERROR, || {
        // SAFETY: as in `set_mode`.
        unsafe { serve(cf, command, &mut *conf.cast::<LocationConf>(), handlers::metrics) }
    })
}

/// Lets a handler answer all requests of the place whose configuration is being read.
/// A second page would silently take the place of the first, so it is refused.
///
/// # Safety
/// `cf` must be the configuration being read, in a location with the value `conf`, and
/// `command` the directive's entry.
unsafe fn serve(
    cf: *mut ngx_conf_t,
    command: *mut ngx_command_t,
    conf: &mut LocationConf,
    handler: Handler,
) -> *mut c_char {
    // SAFETY: by this function's contract; `core` is nginx's own configuration of the place.
    unsafe {
        let name = name(command);
        match conf.page.replace(name.clone()) {
            None => {}
            Some(other) if other == name => return DUPLICATE,
            Some(other) => {
                let why = "give each page a location of its own";
                let told = format_args!("{name}: this is the page of {other} already; {why}");
                log::conf(cf, Level::Emerg, told);
                return CONF_ERROR;
            }
        }
        let context = &*(*cf).ctx.cast::<ngx_http_conf_ctx_t>();
        let index = (&raw const ngx_http_core_module.ctx_index).read();
        let core = &mut *(*context.loc_conf.add(index)).cast::<ngx_http_core_loc_conf_t>();
        core.handler = Some(handler);
    }
    OK
}

/// Checks something that workers will follow; `None` where it was refused and reported.
///
/// # Safety
/// `cf` must be the configuration being read.
pub(super) unsafe fn followed<T>(
    cf: *mut ngx_conf_t,
    directive: &str,
    value: &str,
    parse: fn(&str) -> Checked<T>,
) -> Option<T> {
    match parse(value) {
        Ok((parsed, warning)) => {
            if let Some(why) = warning {
                // SAFETY: by this function's contract.
                unsafe {
                    log::conf(
                        cf,
                        Level::Warn,
                        format_args!("{directive}: value \"{value}\": {why}"),
                    );
                }
            }
            Some(parsed)
        }
        Err(why) => {
            // SAFETY: by this function's contract.
            unsafe { refuse(cf, directive, value, &why) };
            None
        }
    }
}

/// # Safety
/// `cf` must be the configuration being read, `command` the directive's entry.
unsafe fn set<T>(
    cf: *mut ngx_conf_t,
    command: *mut ngx_command_t,
    to: &mut Option<T>,
    parse: fn(&str) -> Result<T, String>,
) -> *mut c_char {
    if to.is_some() {
        return DUPLICATE;
    }
    // SAFETY: by this function's contract.
    unsafe {
        let value = value(cf);
        match parse(&value) {
            Ok(parsed) => {
                *to = Some(parsed);
                OK
            }
            Err(why) => {
                refuse(cf, &name(command), &value, &why);
                CONF_ERROR
            }
        }
    }
}

/// # Safety
/// `cf` must be the configuration being read.
pub(super) unsafe fn refuse(cf: *mut ngx_conf_t, directive: &str, value: &str, why: &str) {
    // SAFETY: by this function's contract.
    unsafe {
        log::conf(cf, Level::Emerg, format_args!("{directive}: value \"{value}\": {why}"));
    }
}

/// # Safety
/// `command` must be an entry of [`COMMANDS`].
pub(super) unsafe fn name(command: *mut ngx_command_t) -> String {
    // SAFETY: by this function's contract the name is a constant.
    String::from_utf8_lossy(unsafe { bytes(&(*command).name) }).into_owned()
}

/// The directive's first argument, empty where there is none; bytes that are not UTF-8 are replaced, which
/// no value of ours survives.
///
/// # Safety
/// `cf` must be the configuration being read, at a directive.
unsafe fn value(cf: *mut ngx_conf_t) -> String {
    // SAFETY: by this function's contract.
    unsafe { values(cf) }.into_iter().next().unwrap_or_default()
}

/// All arguments of the directive.
///
/// # Safety
/// `cf` must be the configuration being read, at a directive.
pub(super) unsafe fn values(cf: *mut ngx_conf_t) -> Vec<String> {
    // SAFETY: by this function's contract the words are the directive and its arguments.
    unsafe {
        let words = (*(*cf).args).as_slice::<ngx_str_t>().iter().skip(1);
        words.map(|word| String::from_utf8_lossy(bytes(word)).into_owned()).collect()
    }
}
