//! The header lines of a request, for the policy.

use std::cell::{Cell, RefCell};
use std::ops::ControlFlow;

use nginx_sys::{ngx_list_part_t, ngx_table_elt_t};
use policy::request::Visitor;

use super::bytes;

thread_local! {
    /// The joined cookies of the request at hand; kept so that it is allocated once.
    static JOINED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The header lines of a request, repeated ones repeated.
///
/// Several `Cookie` lines are followed by one more that nobody sent: their values
/// joined by `; `, which is what nginx gives to a site as `$http_cookie`. Text
/// that was cut into several lines is found in it.
///
/// Lines with hash 0 are shown too. nginx's modules use that value for "removed",
/// but a client can choose a name whose hash comes out as 0 and would so hide a
/// line from the rules that the upstream still receives.
#[derive(Debug)]
pub struct Headers<'r> {
    first: &'r ngx_list_part_t,
    cookies: Cell<Cookies>,
}

/// What is known about the `Cookie` lines of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cookies {
    /// Nobody has asked for headers yet.
    Unknown,
    /// There is one, or none.
    Whole,
    /// There are several, and [`JOINED`] holds them.
    Joined,
}

impl<'r> Headers<'r> {
    /// The lines of a list of nginx that lives, with its strings, for `'r`.
    pub(super) fn new(first: &'r ngx_list_part_t) -> Self {
        Self { first, cookies: Cell::new(Cookies::Unknown) }
    }

    /// Calls `look` with each line until it breaks.
    #[inline]
    fn walk(&self, mut look: impl FnMut(&'r [u8], &'r [u8]) -> ControlFlow<()>) -> ControlFlow<()> {
        let mut part = Some(self.first);
        while let Some(lines) = part {
            let elements = match lines.nelts {
                0 => &[],
                // SAFETY: a list's part has `nelts` elements of the list's type.
                count => unsafe {
                    std::slice::from_raw_parts(lines.elts.cast::<ngx_table_elt_t>(), count)
                },
            };
            for line in elements {
                // SAFETY: the strings of a line live as long as the request.
                let (name, value) = unsafe { (bytes(&line.key), bytes(&line.value)) };
                look(name, value)?;
            }
            // SAFETY: the list of parts ends in null.
            part = unsafe { lines.next.as_ref() };
        }
        ControlFlow::Continue(())
    }

    #[cold]
    fn look_for_cookies(&self) -> Cookies {
        let mut count = 0;
        let _ = self.walk(|name, _| {
            count += usize::from(is_cookie(name));
            ControlFlow::Continue(())
        });
        if count < 2 {
            return Cookies::Whole;
        }
        JOINED.with_borrow_mut(|joined| {
            joined.clear();
            let _ = self.walk(|name, value| {
                if is_cookie(name) {
                    joined.extend_from_slice(value);
                    joined.extend_from_slice(b"; ");
                }
                ControlFlow::Continue(())
            });
            joined.truncate(joined.len() - b"; ".len());
        });
        Cookies::Joined
    }
}

#[inline]
fn is_cookie(name: &[u8]) -> bool {
    // The length first: most names end here.
    name.len() == b"cookie".len() && name.eq_ignore_ascii_case(b"cookie")
}

impl policy::request::Headers for Headers<'_> {
    fn visit(&self, visitor: &mut Visitor<'_>) {
        if self.cookies.get() == Cookies::Unknown {
            self.cookies.set(self.look_for_cookies());
        }
        let done = self.walk(&mut *visitor);
        if done.is_continue() && self.cookies.get() == Cookies::Joined {
            // What the visitor says makes no difference any more.
            let _ = JOINED.with_borrow(|joined| visitor(b"Cookie", joined));
        }
    }
}
