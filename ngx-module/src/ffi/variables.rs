//! `$nwaf_action`, `$nwaf_block_type`, `$nwaf_rule`, `$nwaf_cc`, `$nwaf_generation`.
//!
//! They speak of the main request, also from within a subrequest, and are asked
//! for again each time, because a request's fate changes on its way.

use std::ffi::c_void;

use nginx_sys::{
    NGX_ERROR, NGX_HTTP_VAR_NOCACHEABLE, NGX_OK, ngx_conf_t, ngx_http_add_variable,
    ngx_http_request_t, ngx_int_t, ngx_pnalloc, ngx_str_t, ngx_variable_value_t,
};

use country::Code;

use super::edge;
use super::request::Request;
use crate::judgement::Judgement;
use crate::worker;

/// A value: a word, a number, or nothing, which logs show as `-`.
enum Value {
    Word(&'static str),
    Number(u64),
    Country(Code),
    Nothing,
}

/// What a variable says of a request; no judgement where it was not judged.
type Meaning = fn(Request<'_>, Option<&Judgement>) -> Value;

/// Name and meaning of each variable; nginx remembers the position in this table.
const VARIABLES: [(&str, Meaning); 5] = [
    ("nwaf_action", |_, judgement| {
        Value::Word(judgement.map(|j| j.action.get()).unwrap_or_default().as_str())
    }),
    ("nwaf_block_type", |_, judgement| {
        Value::Number(judgement.map_or(0, |j| j.block_type() as u64))
    }),
    ("nwaf_rule", |_, judgement| {
        judgement.and_then(Judgement::rule).map_or(Value::Nothing, Value::Number)
    }),
    ("nwaf_cc", |request, judgement| {
        // The address that was judged; where none was, the one it comes from now.
        let address = judgement.map_or_else(|| request.main().address(), |j| j.address.get());
        let active = worker::active();
        let country = active.as_deref().and_then(|active| active.country_of(address));
        country.map_or(Value::Nothing, Value::Country)
    }),
    ("nwaf_generation", |_, judgement| {
        let in_force = || worker::active().as_deref().map(|active| active.policy.meta().generation);
        judgement
            .map_or_else(in_force, |j| j.generation.get())
            .map_or(Value::Nothing, Value::Number)
    }),
];

/// Adds the variables to a configuration.
///
/// # Safety
/// `cf` must be the configuration being read, before its variables are fixed.
pub(super) unsafe fn register(cf: *mut ngx_conf_t) -> ngx_int_t {
    for (position, (name, _)) in VARIABLES.iter().enumerate() {
        let mut name = ngx_str_t { len: name.len(), data: name.as_ptr().cast_mut() };
        // SAFETY: by this function's contract; nginx copies the name.
        let variable = unsafe {
            ngx_http_add_variable(cf, &raw mut name, NGX_HTTP_VAR_NOCACHEABLE as usize).as_mut()
        };
        let Some(variable) = variable else { return NGX_ERROR as ngx_int_t };
        variable.get_handler = Some(get);
        variable.data = position;
    }
    NGX_OK as ngx_int_t
}

extern "C" fn get(
    raw: *mut ngx_http_request_t,
    value: *mut ngx_variable_value_t,
    position: usize,
) -> ngx_int_t {
    edge(NGX_ERROR as ngx_int_t, || {
        // SAFETY: nginx calls with the request it works on; the view ends with this call.
        let request = unsafe { Request::new(raw) };
        let (Some(request), Some((_, of))) = (request, VARIABLES.get(position)) else {
            return NGX_ERROR as ngx_int_t;
        };
        // SAFETY: nginx gives a value to fill in, and the request has a pool.
        unsafe { set(raw, &mut *value, of(request, request.judgement())) }
    })
}

/// # Safety
/// `raw` must be a request of nginx.
unsafe fn set(
    raw: *mut ngx_http_request_t,
    to: &mut ngx_variable_value_t,
    value: Value,
) -> ngx_int_t {
    let (data, length) = match value {
        Value::Nothing => {
            to.set_not_found(1);
            return NGX_OK as ngx_int_t;
        }
        Value::Word(word) => (word.as_ptr().cast_mut(), word.len()),
        Value::Number(number) => {
            let text = number.to_string();
            // SAFETY: by this function's contract.
            (unsafe { copied(raw, text.as_bytes()) }, text.len())
        }
        // SAFETY: by this function's contract.
        Value::Country(code) => (unsafe { copied(raw, &code) }, code.len()),
    };
    if data.is_null() {
        return NGX_ERROR as ngx_int_t;
    }
    to.set_valid(1);
    to.set_no_cacheable(0);
    to.set_not_found(0);
    // 28 bits are plenty for 20 digits.
    to.set_len(length as u32);
    to.data = data;
    NGX_OK as ngx_int_t
}

/// The text in memory that lives as long as the request; null where nginx is out of memory.
///
/// # Safety
/// `raw` must be a request of nginx.
unsafe fn copied(raw: *mut ngx_http_request_t, text: &[u8]) -> *mut u8 {
    // SAFETY: by this function's contract; the memory has room for the text.
    unsafe {
        let memory = ngx_pnalloc((*raw).pool, text.len());
        if !memory.is_null() {
            memory.copy_from_nonoverlapping(text.as_ptr().cast::<c_void>(), text.len());
        }
        memory.cast()
    }
}
