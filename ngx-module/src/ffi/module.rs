//! The tables nginx looks up when it loads the library.

use std::ffi::c_void;

use nginx_sys::{NGX_HTTP_MODULE, ngx_http_module_t, ngx_module_t, ngx_uint_t};

use super::{commands, hooks};

/// nginx calls these while it reads a configuration.
static CONTEXT: ngx_http_module_t = ngx_http_module_t {
    preconfiguration: Some(hooks::before_configuration),
    postconfiguration: Some(hooks::after_configuration),
    create_main_conf: Some(hooks::create_main),
    init_main_conf: None,
    create_srv_conf: None,
    merge_srv_conf: None,
    create_loc_conf: Some(hooks::create_location),
    merge_loc_conf: Some(hooks::merge_location),
};

/// The module, under the name that `load_module` and `nginx -V` know. nginx
/// writes its own numbers into it.
#[used]
#[allow(non_upper_case_globals)]
#[unsafe(no_mangle)]
pub static mut ngx_http_nwaf_module: ngx_module_t = ngx_module_t {
    ctx: (&raw const CONTEXT).cast_mut().cast(),
    commands: &raw mut commands::COMMANDS as *mut _,
    type_: NGX_HTTP_MODULE as ngx_uint_t,
    init_module: Some(hooks::after_cycle),
    init_process: Some(hooks::start_process),
    exit_process: Some(hooks::end_process),
    ..ngx_module_t::default()
};

ngx::ngx_modules!(ngx_http_nwaf_module);

/// The place of this module in the tables of a configuration or a request.
#[inline]
pub(super) fn index() -> usize {
    // SAFETY: nginx sets the number while it loads the module, before any call
    // of ours, and does not change it after that.
    unsafe { (&raw const ngx_http_nwaf_module.ctx_index).read() }
}

/// What tells our shared zone from another module's of the same name.
pub(super) fn tag() -> *mut c_void {
    (&raw mut ngx_http_nwaf_module).cast()
}
