//! Directives of the attack journal and the traffic ring, and the moment a request is
//! recorded: nginx's log phase, when status and time are known. Requests that end
//! early come through it too.

use std::ffi::{c_char, c_void};

use nginx_sys::{
    NGX_OK, ngx_command_t, ngx_conf_t, ngx_http_conf_ctx_t, ngx_http_core_main_conf_t,
    ngx_http_core_module, ngx_http_phases_NGX_HTTP_LOG_PHASE as LOG, ngx_http_request_t, ngx_int_t,
    ngx_test_config,
};

use super::commands::{CONF_ERROR, DUPLICATE, OK, name, refuse, values};
use super::log::{self, Level};
use super::request::Request;
use super::{edge, hooks};
use crate::directives::{Checked, MainConf};
use crate::journal::JournalConf;
use crate::record;
use crate::telemetry::{self, TelemetryConf};

pub(super) extern "C" fn set_journal(
    cf: *mut ngx_conf_t,
    command: *mut ngx_command_t,
    conf: *mut c_void,
) -> *mut c_char {
    edge(CONF_ERROR, || {
        // SAFETY: nginx calls with the configuration being read, the entry of its table,
        // and the value that `hooks::create_main` made.
        unsafe {
            let conf = &mut *conf.cast::<MainConf>();
            set(cf, command, &mut conf.journal, JournalConf::parse)
        }
    })
}

pub(super) extern "C" fn set_telemetry(
    cf: *mut ngx_conf_t,
    command: *mut ngx_command_t,
    conf: *mut c_void,
) -> *mut c_char {
    edge(CONF_ERROR, || {
        // SAFETY: as in `set_journal`.
        unsafe {
            let conf = &mut *conf.cast::<MainConf>();
            set(cf, command, &mut conf.telemetry, TelemetryConf::parse)
        }
    })
}

pub(super) extern "C" fn set_mask(
    cf: *mut ngx_conf_t,
    command: *mut ngx_command_t,
    conf: *mut c_void,
) -> *mut c_char {
    edge(CONF_ERROR, || {
        // SAFETY: as in `set_journal`.
        unsafe {
            let conf = &mut *conf.cast::<MainConf>();
            for word in values(cf) {
                if let Err(why) = conf.masks.add(&word) {
                    refuse(cf, &name(command), &word, &why.to_string());
                    return CONF_ERROR;
                }
            }
            OK
        }
    })
}

/// # Safety
/// `cf` must be the configuration being read, `command` the directive's entry.
unsafe fn set<T>(
    cf: *mut ngx_conf_t,
    command: *mut ngx_command_t,
    to: &mut Option<T>,
    parse: fn(&str, Option<&str>) -> Checked<T>,
) -> *mut c_char {
    if to.is_some() {
        return DUPLICATE;
    }
    // SAFETY: by this function's contract.
    unsafe {
        let words = values(cf);
        let value = words.first().map_or("", String::as_str);
        let option = words.get(1).map(String::as_str);
        match parse(value, option) {
            Ok((parsed, warning)) => {
                if let Some(why) = warning {
                    let name = name(command);
                    log::conf(cf, Level::Warn, format_args!("{name}: value \"{value}\": {why}"));
                }
                *to = Some(parsed);
                OK
            }
            Err(why) => {
                refuse(cf, &name(command), &words.join(" "), &why);
                CONF_ERROR
            }
        }
    }
}

/// Asks nginx for the log phase where anything is recorded; `false` where it has no memory.
///
/// # Safety
/// `cf` must be the configuration being read, its `http` block complete.
pub(super) unsafe fn add_handler(cf: *mut ngx_conf_t) -> bool {
    // SAFETY: by this function's contract; `core` is nginx's own configuration, with one
    // list of handlers for each phase.
    unsafe {
        let records = hooks::main_conf(cf)
            .is_some_and(|conf| conf.journal.is_some() || conf.telemetry.is_some());
        if !records {
            return true;
        }
        let context = &*(*cf).ctx.cast::<ngx_http_conf_ctx_t>();
        let index = (&raw const ngx_http_core_module.ctx_index).read();
        let core = &mut *(*context.main_conf.add(index)).cast::<ngx_http_core_main_conf_t>();
        let Some(last) = hooks::push(&mut core.phases[LOG as usize].handlers) else { return false };
        *last = Some(finished);
    }
    true
}

/// A request is over.
extern "C" fn finished(raw: *mut ngx_http_request_t) -> ngx_int_t {
    edge((), || {
        // SAFETY: nginx calls with a request whose pool still lives; the view ends with
        // this call.
        if let Some(request) = unsafe { Request::new(raw) }
            && request.is_main()
        {
            record::finished(request);
        }
    });
    NGX_OK as ngx_int_t
}

/// Opens the ring for the workers that will be started with this configuration. They take
/// over its memory, and need no rights to the file.
pub(super) fn open_ring(conf: &MainConf) {
    // SAFETY: nginx sets the word before it reads a configuration.
    let is_test = unsafe { (&raw const ngx_test_config).read() } != 0;
    if !is_test {
        telemetry::open(conf.telemetry.as_ref().filter(|_| conf.enabled));
    }
}
