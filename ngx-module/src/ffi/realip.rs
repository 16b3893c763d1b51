//! Foreseeing what `ngx_http_realip_module` does late.
//!
//! Realip acts when a request was read, by the server's directives, and again in
//! PREACCESS, by the location's. A location that has its own is left to judge in
//! REWRITE by the address of a balancer, or not at all before a `return` answers.
//! So realip is asked early what it will say, and what it changed is taken back:
//! nginx sees the address change when it always did.
//!
//! Where realip cannot be told apart (it is not there, or another module acts in
//! the same two phases), nothing is foreseen and PREACCESS judges once more.

use nginx_sys::{
    ngx_array_t, ngx_conf_t, ngx_cycle_t, ngx_http_conf_ctx_t, ngx_http_core_main_conf_t,
    ngx_http_core_module, ngx_http_core_srv_conf_t, ngx_http_handler_pt,
    ngx_http_phases_NGX_HTTP_POST_READ_PHASE as POST_READ,
    ngx_http_phases_NGX_HTTP_PREACCESS_PHASE as PREACCESS, ngx_http_request_t, ngx_int_t,
};

/// Realip of this nginx.
#[derive(Debug, Clone, Copy)]
pub struct Realip {
    handler: unsafe extern "C" fn(*mut ngx_http_request_t) -> ngx_int_t,
    index: usize,
}

/// Realip's directives of one place: `from`, `type`, `hash`, `header` (length and
/// text) and `recursive`, the same words in every nginx since 1.3. Only compared.
type Directives = [usize; 6];

impl Realip {
    /// Finds it in a complete configuration.
    ///
    /// # Safety
    /// `cycle` must be a complete configuration, `core` its `http` block's.
    pub(super) unsafe fn find(
        cycle: *mut ngx_cycle_t,
        core: &ngx_http_core_main_conf_t,
    ) -> Option<Self> {
        // SAFETY: by this function's contract, the lists hold handlers.
        let (index, early, late) = unsafe {
            (
                index(cycle)?,
                handlers(&core.phases[POST_READ as usize].handlers),
                handlers(&core.phases[PREACCESS as usize].handlers),
            )
        };
        let address = |handler: &ngx_http_handler_pt| handler.map(|f| f as usize);
        let mut both =
            early.iter().filter(|one| late.iter().any(|other| address(one) == address(other)));
        match (both.next(), both.next()) {
            (Some(Some(handler)), None) => Some(Self { handler: *handler, index }),
            _ => None,
        }
    }

    /// Runs `look` on a request as it will be when realip has acted in its location.
    ///
    /// # Safety
    /// `raw` must be a request that nginx works on, in a location.
    pub(super) unsafe fn foresee<T>(
        self,
        raw: *mut ngx_http_request_t,
        look: impl FnOnce() -> T,
    ) -> T {
        // SAFETY: by this function's contract. The handler changes three words of
        // the connection, its own context and the head of the pool's clean-up
        // list, and these only where it replaced the address; all are put back.
        // What it took from the pool stays there unused.
        unsafe {
            let (connection, pool) = ((*raw).connection, (*raw).pool);
            let (address, length) = ((*connection).sockaddr, (*connection).socklen);
            let (text, cleanup) = ((*connection).addr_text, (*pool).cleanup);
            (self.handler)(raw);
            let found = look();
            if (*connection).sockaddr != address {
                (*connection).sockaddr = address;
                (*connection).socklen = length;
                (*connection).addr_text = text;
                *(*raw).ctx.add(self.index) = std::ptr::null_mut();
                (*pool).cleanup = cleanup;
            }
            found
        }
    }
}

/// Whether realip's directives of the place being merged differ from its server's.
///
/// # Safety
/// `cf` must be the configuration being read, while nginx merges a place.
pub(super) unsafe fn is_late(cf: *mut ngx_conf_t) -> bool {
    // SAFETY: by this function's contract: while it merges, nginx's context is the
    // one of the server or location at hand. Realip's values are its own type,
    // of which only words are read.
    unsafe {
        let Some(realip) = index((*cf).cycle) else { return false };
        let Some(place) = (*cf).ctx.cast::<ngx_http_conf_ctx_t>().as_ref() else { return false };
        let core = (&raw const ngx_http_core_module.ctx_index).read();
        let server = (*place.srv_conf.add(core)).cast::<ngx_http_core_srv_conf_t>().as_ref();
        let Some(server) = server.and_then(|server| server.ctx.as_ref()) else { return false };
        let directives = |conf: &ngx_http_conf_ctx_t| {
            (*conf.loc_conf.add(realip)).cast::<Directives>().as_ref().copied()
        };
        place.loc_conf != server.loc_conf && directives(place) != directives(server)
    }
}

/// The place of realip in the tables of a configuration or a request.
///
/// # Safety
/// `cycle` must be a configuration whose modules are known.
unsafe fn index(cycle: *mut ngx_cycle_t) -> Option<usize> {
    // SAFETY: by this function's contract; nginx names every module.
    unsafe {
        let modules = std::slice::from_raw_parts((*cycle).modules, (*cycle).modules_n);
        let realip = modules.iter().filter_map(|module| module.as_ref()).find(|module| {
            !module.name.is_null()
                && std::ffi::CStr::from_ptr(module.name) == c"ngx_http_realip_module"
        })?;
        Some(realip.ctx_index)
    }
}

/// # Safety
/// `list` must be a list of phase handlers that does not change any more.
unsafe fn handlers(list: &ngx_array_t) -> &[ngx_http_handler_pt] {
    match list.nelts {
        0 => &[],
        // SAFETY: by this function's contract.
        count => unsafe { std::slice::from_raw_parts(list.elts.cast(), count) },
    }
}
