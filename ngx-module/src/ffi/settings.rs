//! The directives that are settings of the API too: nginx's words -> `policy`.
//!
//! One directive's words, joined by a space, are one value as the API takes it; the
//! values of several directives of one name add up.

use std::ffi::{CStr, c_char, c_void};

use nginx_sys::{
    NGX_CONF_1MORE, NGX_HTTP_MAIN_CONF, NGX_HTTP_MAIN_CONF_OFFSET, ngx_command_t, ngx_conf_t,
    ngx_str_t,
};
use policy::{Invalid, Key, Policy};

use super::commands::{CONF_ERROR, OK, command, name, refuse};
use super::log::{self, Level};
use super::{bytes, edge};
use crate::directives::MainConf;
use crate::local::Local;

/// The entry of a setting in nginx's table.
pub(super) const fn setting(name: &'static CStr) -> ngx_command_t {
    command(name, NGX_HTTP_MAIN_CONF | NGX_CONF_1MORE, NGX_HTTP_MAIN_CONF_OFFSET, set)
}

extern "C" fn set(
    cf: *mut ngx_conf_t,
    command: *mut ngx_command_t,
    conf: *mut c_void,
) -> *mut c_char {
    edge(CONF_ERROR, || {
        // SAFETY: nginx calls with the configuration being read, the entry made above, and
        // the value that `hooks::create_main` made for this configuration.
        unsafe {
            let conf = &mut *conf.cast::<MainConf>();
            let name = name(command);
            let added = words(cf).and_then(|value| {
                let key = name.parse::<Key>().map_err(|why| vec![why])?;
                conf.settings.add(key, &value)
            });
            let Err(refused) = added else { return OK };
            report(cf, &name, &refused);
            CONF_ERROR
        }
    })
}

/// Compiles the settings that were read; `false` where that is refused and reported.
///
/// # Safety
/// `cf` must be the configuration being read.
pub(super) unsafe fn complete(cf: *mut ngx_conf_t, conf: &mut MainConf) -> bool {
    let policy = Policy { settings: std::mem::take(&mut conf.settings), ..Policy::default() };
    // The API asks for `force`; whoever writes nginx's configuration has the last word.
    for danger in policy::dangers(&policy) {
        // SAFETY: by this function's contract.
        unsafe { log::conf(cf, Level::Warn, format_args!("{danger}; is that meant?")) };
    }
    match Local::compile(policy.settings) {
        Ok(local) => {
            conf.local = local.map(Into::into);
            true
        }
        Err(why) => {
            // SAFETY: by this function's contract.
            unsafe {
                refuse(cf, "nwaf_ip_wl, nwaf_ip_lm and the other lists", "all of them", &why)
            };
            false
        }
    }
}

/// The arguments of a directive, joined by a space.
///
/// # Safety
/// `cf` must be the configuration being read.
unsafe fn words(cf: *mut ngx_conf_t) -> Result<String, Vec<Invalid>> {
    // SAFETY: by this function's contract the words are the directive and its arguments.
    let words = unsafe { (*(*cf).args).as_slice::<ngx_str_t>() };
    let mut value = String::new();
    for word in words.iter().skip(1) {
        // SAFETY: as above; nginx keeps its words until the directive is dealt with.
        let word = unsafe { bytes(word) };
        let word = str::from_utf8(word).map_err(|_| {
            let shown = String::from_utf8_lossy(word);
            vec![Invalid::new("", &shown, "is not UTF-8", "save the file as UTF-8")]
        })?;
        if !value.is_empty() {
            value.push(' ');
        }
        value.push_str(word);
    }
    Ok(value)
}

/// Says what is wrong with the first value, and how many more are.
///
/// # Safety
/// `cf` must be the configuration being read.
unsafe fn report(cf: *mut ngx_conf_t, directive: &str, refused: &[Invalid]) {
    let Some(first) = refused.first() else { return };
    let Invalid { value, reason, remedy, .. } = first;
    let mut why = format!("{reason}; {remedy}");
    if refused.len() > 1 {
        why = format!("{why} ({} more values of this directive are refused)", refused.len() - 1);
    }
    // SAFETY: by this function's contract.
    unsafe { refuse(cf, directive, &value.escape_debug().to_string(), &why) };
}
