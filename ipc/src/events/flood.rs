//! What would be written over and over is written once, and counted.
//!
//! A client that a ban or the block list shuts out may come a thousand times a second. The
//! first request of an interval is written as it is; those that follow are counted, and told
//! by one line at the interval's end with what the last of them was like.
//!
//! Invariants: at most [`CLIENTS_MAX`] clients are known at a time; what else comes is counted
//! together; no more than one line a client and interval after the first; every request
//! is in the count of exactly one line.

use std::collections::VecDeque;
use std::collections::hash_map::{Entry, HashMap};
use std::net::IpAddr;

use policy::Source;

/// Clients that are counted one by one, each with what shuts it out.
pub const CLIENTS_MAX: usize = 4096;
/// How long requests are counted before they are told, in milliseconds.
pub const INTERVAL_MS: u64 = 60_000;
/// Clients whose interval is ended in one go, so that nobody waits for all of them.
const ENDED_AT_ONCE: usize = 128;

/// Who is counted: a client and what shuts it out. The rule behind a ban is no difference.
pub type Culprit = (Option<IpAddr>, u8);

/// Whether hits of this source come in floods; and if so, the number that tells it
/// from others.
pub fn flooding(source: Source) -> Option<u8> {
    match source {
        Source::Ban(kind, _) => Some(kind as u8),
        Source::BlockList => Some(u8::MAX),
        _ => None,
    }
}

/// What becomes of a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Course<'f, S> {
    /// It is written now.
    Write,
    /// It is counted; the place takes what it was like.
    Counted(&'f mut S),
}

/// Requests that stand for one another.
#[derive(Debug)]
pub struct Told<S> {
    /// Whose they are; `None` where there were too many to tell.
    pub culprit: Option<Culprit>,
    /// How many.
    pub count: u64,
    /// What the last one was like.
    pub last: S,
}

#[derive(Debug)]
struct Counting<S> {
    count: u64,
    last: S,
}

/// The clients of one worker; `S` is what is kept of a request.
#[derive(Debug)]
pub struct Floods<S> {
    known: HashMap<Culprit, Counting<S>>,
    /// When the interval of each began, in order.
    begun: VecDeque<(u64, Culprit)>,
    /// All others, with when the first of them came.
    others: Option<(u64, Counting<S>)>,
}

impl<S> Default for Floods<S> {
    fn default() -> Self {
        Self { known: HashMap::new(), begun: VecDeque::new(), others: None }
    }
}

impl<S: Default> Floods<S> {
    /// One more request; `now_ms` is of any clock that does not go back. O(1).
    pub fn add(&mut self, culprit: Culprit, now_ms: u64) -> Course<'_, S> {
        let is_full = self.known.len() >= CLIENTS_MAX;
        match self.known.entry(culprit) {
            Entry::Occupied(entry) => {
                let counting = entry.into_mut();
                counting.count += 1;
                Course::Counted(&mut counting.last)
            }
            Entry::Vacant(_) if is_full => {
                let (_, others) = self
                    .others
                    .get_or_insert_with(|| (now_ms, Counting { count: 0, last: S::default() }));
                others.count += 1;
                Course::Counted(&mut others.last)
            }
            Entry::Vacant(entry) => {
                entry.insert(Counting { count: 0, last: S::default() });
                self.begun.push_back((now_ms, culprit));
                Course::Write
            }
        }
    }

    /// Tells what was counted in intervals that are over; whose goes on gets another one.
    /// With `everything`, all of them, because the worker ends.
    pub fn end(&mut self, now_ms: u64, everything: bool, mut tell: impl FnMut(Told<S>)) {
        let is_over = |begun: u64| everything || now_ms.saturating_sub(begun) >= INTERVAL_MS;
        let at_once = if everything { CLIENTS_MAX } else { ENDED_AT_ONCE };
        for _ in 0..at_once {
            let Some((begun, culprit)) = self.begun.front().copied() else { break };
            if !is_over(begun) {
                break;
            }
            self.begun.pop_front();
            let Some(counting) = self.known.get_mut(&culprit) else { continue };
            let count = std::mem::take(&mut counting.count);
            if count == 0 || everything {
                self.known.remove(&culprit).filter(|_| count > 0).into_iter().for_each(
                    |counting| {
                        tell(Told { culprit: Some(culprit), count, last: counting.last });
                    },
                );
                continue;
            }
            let last = std::mem::take(&mut counting.last);
            self.begun.push_back((now_ms, culprit));
            tell(Told { culprit: Some(culprit), count, last });
        }
        if let Some((_, others)) = self.others.take_if(|(begun, _)| is_over(*begun)) {
            tell(Told { culprit: None, count: others.count, last: others.last });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use policy::BanKind;

    use super::*;

    fn culprit(number: usize) -> Culprit {
        (Some(IpAddr::from((number as u32).to_be_bytes())), 8)
    }

    /// Adds one and says whether it is written.
    fn add(floods: &mut Floods<u64>, number: usize, now_ms: u64) -> bool {
        match floods.add(culprit(number), now_ms) {
            Course::Write => true,
            Course::Counted(last) => {
                *last = now_ms;
                false
            }
        }
    }

    fn ended(
        floods: &mut Floods<u64>,
        now_ms: u64,
        everything: bool,
    ) -> Vec<(Option<Culprit>, u64, u64)> {
        let mut told = Vec::new();
        floods.end(now_ms, everything, |one| told.push((one.culprit, one.count, one.last)));
        told
    }

    #[test]
    fn the_first_is_written_and_the_rest_told_at_the_end() {
        let mut floods = Floods::default();
        assert!(add(&mut floods, 1, 100));
        assert!(add(&mut floods, 2, 100));
        assert!(!add(&mut floods, 1, 200) && !add(&mut floods, 1, 300));
        assert_eq!(ended(&mut floods, 60_099, false), []);
        assert_eq!(ended(&mut floods, 60_100, false), [(Some(culprit(1)), 2, 300)]);
        // The second is forgotten, the first goes on.
        assert!(add(&mut floods, 2, 60_200));
        assert!(!add(&mut floods, 1, 60_200));
        assert_eq!(ended(&mut floods, 120_100, false), [(Some(culprit(1)), 1, 60_200)]);
        assert_eq!(ended(&mut floods, 180_100, false), []);
        assert!(add(&mut floods, 1, 190_000));
    }

    #[test]
    fn sources_are_told_apart() {
        let all: HashSet<_> = BanKind::ALL
            .into_iter()
            .map(|kind| flooding(Source::Ban(kind, 1)))
            .chain([flooding(Source::BlockList)])
            .collect();
        assert!(all.len() == 6 && !all.contains(&None));
        assert_eq!(flooding(Source::Rule(1)), None);
    }

    #[test]
    fn memory_is_bounded_and_every_request_is_in_one_line() {
        let mut floods = Floods::default();
        let (mut written, mut told, mut sent) = (0, 0, 0);
        for now_ms in 0..200_000_u64 {
            for _ in 0..3 {
                sent += 1;
                written += u64::from(add(&mut floods, (sent * 7919) % 20_000, now_ms));
            }
            if now_ms % 100 == 0 {
                floods.end(now_ms, false, |one| told += one.count);
            }
            assert!(floods.known.len() <= CLIENTS_MAX && floods.begun.len() <= CLIENTS_MAX);
        }
        floods.end(200_000, true, |one| told += one.count);
        assert_eq!(written + told, sent as u64);
        assert!(floods.known.is_empty() && floods.begun.is_empty() && floods.others.is_none());
    }

    #[test]
    fn what_does_not_fit_is_told_together() {
        let mut floods = Floods::default();
        for number in 0..CLIENTS_MAX + 5 {
            assert_eq!(add(&mut floods, number, 7), number < CLIENTS_MAX);
        }
        assert_eq!(ended(&mut floods, 60_007, false), [(None, 5, 7)]);
    }
}
