//! `$nwaf_action`, `$nwaf_block_type`, `$nwaf_rule`, `$nwaf_cc`, `$nwaf_generation`.
//!
//! They speak of the main request, also from within a subrequest, and are asked
//! for again each time, because a request's fate changes on its way.

use std::ffi::c_void;

use nginx_sys::{
    NGX_ERROR, NGX_HTTP_VAR_NOCACHEABLE, NGX_OK, ngx_conf_t, ngx_http_add_variable,
    ngx_http_request_t, ngx_int_t, ngx_pnalloc, ngx_str_t, ngx_variable_value_t,
};

use super::edge;
use super::request::Request;
use crate::judgement::Judgement;
use crate::worker;

/// A value: a word, a number, or nothing, which logs show as `-`.
enum Value {
    Word(&'static str),
    Number(u64),
    Nothing,
}

/// What a variable says of a request; `None` where it was not judged.
type Meaning = fn(Option<&Judgement>) -> Value;

/// Name and meaning of each variable; nginx remembers the position in this table.
const VARIABLES: [(&str, Meaning); 5] = [
    ("nwaf_action", |judgement| {
        Value::Word(judgement.map(|j| j.action.get()).unwrap_or_default().as_str())
    }),
    ("nwaf_block_type", |judgement| Value::Number(judgement.map_or(0, |j| j.block_type() as u64))),
    ("nwaf_rule", |judgement| {
        judgement.and_then(Judgement::rule).map_or(Value::Nothing, Value::Number)
    }),
    // Countries come with a country database.
    ("nwaf_cc", |_| Value::Nothing),
    ("nwaf_generation", |judgement| {
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
        unsafe { set(raw, &mut *value, of(request.judgement())) }
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
            // SAFETY: by this function's contract; the memory has room for the text.
            unsafe {
                let memory = ngx_pnalloc((*raw).pool, text.len());
                if memory.is_null() {
                    return NGX_ERROR as ngx_int_t;
                }
                memory.copy_from_nonoverlapping(text.as_ptr().cast::<c_void>(), text.len());
                (memory.cast::<u8>(), text.len())
            }
        }
    };
    to.set_valid(1);
    to.set_no_cacheable(0);
    to.set_not_found(0);
    // 28 bits are plenty for 20 digits.
    to.set_len(length as u32);
    to.data = data;
    NGX_OK as ngx_int_t
}
