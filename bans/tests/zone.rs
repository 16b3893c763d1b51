//! The zone against what it promises: exact counts, ends on time, bounded room, and
//! nothing lost but counts when a process dies at the worst moment.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use bans::{Allowance, Counted, Key, Lock, Zone};
use proptest::prelude::*;

const SEEDS: [u64; 3] = [0x1234_5678_9abc_def1, 0xfeed_face_cafe_beef, 0x0bad_c0de_dead_10cc];
const KIB: usize = 1024 / 8;

#[derive(Debug, Default)]
struct Held(Mutex<()>);

impl Lock for &Held {
    fn hold<T>(&self, work: impl FnOnce() -> T) -> T {
        let _held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        work()
    }
}

fn words(count: usize) -> Vec<AtomicU64> {
    (0..count).map(|_| AtomicU64::new(0)).collect()
}

fn key(number: u32) -> Key {
    Key::new(IpAddr::from(number.to_be_bytes()), 64, 0)
}

fn per_minute(rate: u32) -> Allowance {
    Allowance { rate, window_s: 60, block_s: 600 }
}

#[test]
fn the_request_after_the_allowed_ones_is_the_first_that_is_banned() {
    let (words, lock) = (words(32 * KIB), Held::default());
    let zone = Zone::create(&words, SEEDS, &lock).unwrap();
    for nth in 0..5 {
        assert_eq!(zone.count(&key(1), per_minute(5), 7, nth), Counted::Within);
        assert_eq!(zone.stop(&key(1), nth), None);
    }
    assert!(zone.is_idle(4));
    assert_eq!(zone.count(&key(1), per_minute(5), 9, 10), Counted::Exceeded { until: 600_010 });
    assert_eq!(zone.stop(&key(1), 11), Some(9));
    assert_eq!(zone.stop(&key(1), 600_009), Some(9));
    assert!(!zone.is_idle(600_009) && zone.is_idle(600_010));
    assert_eq!(zone.stop(&key(1), 600_010), None, "it ends on time");
    assert_eq!(zone.stop(&key(2), 11), None, "nobody else is banned");
    let ban = zone.bans(20).next().unwrap();
    assert_eq!((ban.since, ban.until, ban.rule, ban.blocked), (10, 600_010, 9, 3));
    // Counting begins at nothing after a ban.
    for nth in 0..5 {
        assert_eq!(zone.count(&key(1), per_minute(5), 7, 700_000 + nth), Counted::Within);
    }
}

#[test]
fn the_window_slides() {
    let (words, lock) = (words(32 * KIB), Held::default());
    let zone = Zone::create(&words, SEEDS, &lock).unwrap();
    let count = |now| zone.count(&key(1), per_minute(2), 0, now);
    assert_eq!(count(0), Counted::Within);
    assert_eq!(count(30_000), Counted::Within);
    // The first one is a whole window old, and counts no more.
    assert_eq!(count(60_000), Counted::Within);
    assert_eq!(count(89_999), Counted::Exceeded { until: 689_999 });
}

#[test]
fn what_is_older_than_the_window_is_gone_however_slowly_it_came() {
    let (words, lock) = (words(1024 * KIB), Held::default());
    let zone = Zone::create(&words, SEEDS, &lock).unwrap();
    // Each a moment before the last one would be too old; the first comes back as a new one
    // after 2^32 milliseconds.
    for nth in 0..80_000_u64 {
        let now = nth * 59_999;
        assert_eq!(zone.count(&key(1), per_minute(71_580), 0, now), Counted::Within, "{nth}");
        assert!(nth % 1_000 > 0 || zone.statistics(now).cells <= 3, "{nth}");
    }
}

#[test]
fn a_limit_without_a_ban_counts_nothing() {
    let (words, lock) = (words(32 * KIB), Held::default());
    let zone = Zone::create(&words, SEEDS, &lock).unwrap();
    let never = Allowance { block_s: 0, ..per_minute(1) };
    assert!((0..100).all(|now| zone.count(&key(1), never, 0, now) == Counted::Within));
    assert_eq!(zone.statistics(0).addresses, 0);
}

#[test]
fn a_changed_limit_counts_anew() {
    let (words, lock) = (words(32 * KIB), Held::default());
    let zone = Zone::create(&words, SEEDS, &lock).unwrap();
    for now in 0..100 {
        assert_eq!(zone.count(&key(1), per_minute(100), 0, now), Counted::Within);
    }
    assert_eq!(zone.count(&key(1), per_minute(2), 0, 100), Counted::Within);
    assert_eq!(zone.count(&key(1), per_minute(2), 0, 101), Counted::Within);
    assert!(matches!(zone.count(&key(1), per_minute(2), 0, 102), Counted::Exceeded { .. }));
}

/// The plain way: all times of a key.
#[derive(Default)]
struct Naive {
    times: HashMap<u32, VecDeque<u64>>,
    bans: HashMap<u32, u64>,
}

impl Naive {
    fn count(&mut self, key: u32, allowance: Allowance, now: u64) -> &'static str {
        if self.bans.get(&key).is_some_and(|until| now < *until) {
            return "overtaken";
        }
        let window = u64::from(allowance.window_s) * 1000;
        let times = self.times.entry(key).or_default();
        times.retain(|time| now - time < window);
        times.push_back(now);
        if times.len() <= allowance.rate as usize {
            return "within";
        }
        times.clear();
        self.bans.insert(key, now + u64::from(allowance.block_s) * 1000);
        "exceeded"
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn it_counts_as_one_would_by_hand(
        rate in 1_u32..40,
        second in any::<bool>(),
        block_s in 1_u32..100,
        steps in prop::collection::vec((0_u32..4, 0_u64..4_000), 1..600),
    ) {
        let (words, lock) = (words(32 * KIB), Held::default());
        let zone = Zone::create(&words, SEEDS, &lock).unwrap();
        let allowance = Allowance { rate, window_s: if second { 1 } else { 60 }, block_s };
        let mut naive = Naive::default();
        // Long after the start, so that 32 bits are not enough for a time.
        let mut now = 1 << 33;
        for (number, pause) in steps {
            now += pause / if second { 40 } else { 1 };
            let counted = match zone.count(&key(number), allowance, 1, now) {
                Counted::Within => "within",
                Counted::Exceeded { .. } => "exceeded",
                Counted::Overtaken { .. } => "overtaken",
            };
            prop_assert_eq!(counted, naive.count(number, allowance, now));
            let banned = naive.bans.get(&number).is_some_and(|until| now < *until);
            prop_assert_eq!(zone.stop(&key(number), now).is_some(), banned);
        }
        // Nothing leaks: once all are forgotten, all cells are free again.
        for number in 0..4 {
            zone.count(&key(number), Allowance { rate: 1, ..allowance }, 1, now + 1_000_000);
            zone.count(&key(number), Allowance { rate: 1, ..allowance }, 1, now + 1_000_000);
        }
        prop_assert_eq!(zone.statistics(0).addresses, 0);
        prop_assert_eq!(zone.statistics(0).cells, 0);
    }
}

#[test]
fn of_many_at_once_exactly_the_allowed_ones_pass() {
    for round in 0..200 {
        let (words, lock) = (words(32 * KIB), Held::default());
        let zone = Zone::create(&words, SEEDS, &lock).unwrap();
        let rate = 1 + round % 30;
        let (within, exceeded) = (AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for now in 0..40 {
                        if zone.stop(&key(1), now).is_some() {
                            continue;
                        }
                        match zone.count(&key(1), per_minute(rate), 1, now) {
                            Counted::Within => within.fetch_add(1, Ordering::Relaxed),
                            Counted::Exceeded { .. } => exceeded.fetch_add(1, Ordering::Relaxed),
                            Counted::Overtaken { .. } => 0,
                        };
                    }
                });
            }
        });
        assert_eq!(within.into_inner(), rate as usize);
        assert_eq!(exceeded.into_inner(), 1);
    }
}

#[test]
fn readers_see_whole_bans_or_none() {
    // A zone that is too small for its bans, so that they replace each other.
    let (words, lock) = (words(32 * KIB), Held::default());
    let zone = Zone::create(&words, SEEDS, &lock).unwrap();
    let done = AtomicU64::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..15_000_u32 {
                let now = u64::from(number);
                zone.count(&key(number), per_minute(1), number.into(), now);
                zone.count(&key(number), per_minute(1), number.into(), now);
            }
            done.store(1, Ordering::Release);
        });
        for _ in 0..3 {
            scope.spawn(|| {
                while done.load(Ordering::Acquire) == 0 {
                    for ban in zone.bans(0) {
                        let number = u32::try_from(ban.rule).unwrap();
                        assert_eq!((ban.key, ban.since), (key(number), ban.rule));
                    }
                    let number = fastrand::u32(0..15_000);
                    let rule = zone.stop(&key(number), 0);
                    assert!(rule.is_none_or(|rule| rule == number.into()));
                }
            });
        }
    });
    assert!(zone.statistics(0).cut > 0, "{:?}", zone.statistics(0));
}

#[test]
fn a_flood_of_addresses_stays_within_the_zone_and_hurts_no_other() {
    let (words, lock) = (words(1024 * KIB), Held::default());
    let zone = Zone::create(&words, SEEDS, &lock).unwrap();
    for number in 0..100_000_u32 {
        for _ in 0..3 {
            zone.count(&key(number), per_minute(2), 1, 1000);
        }
    }
    let full = zone.statistics(1001);
    assert!(full.bans > full.bans_room * 9 / 10, "{full:?}");
    assert!(full.bans <= full.bans_room && full.cells <= full.cells_room, "{full:?}");
    assert_eq!(full.made, 100_000);
    assert_eq!(full.cut, 100_000 - full.bans, "what did not fit is counted: {full:?}");
    for number in 100_000..200_000 {
        assert_eq!(zone.stop(&key(number), 1001), None);
    }
    // Of the attackers as many are stopped as there is room for.
    let stopped = (0..100_000).filter(|number| zone.stop(&key(*number), 1001).is_some()).count();
    assert_eq!(stopped as u64, full.bans);
    assert_eq!(zone.losses_to_tell(1001), Some(full.cut));
    assert_eq!(zone.losses_to_tell(1002), None, "told once");
    // When the bans are over the zone is as good as new.
    assert!(zone.is_idle(1_000_000));
    assert_eq!(zone.statistics(1_000_000).bans, 0);
    for number in 0..1000_u32 {
        zone.count(&key(number), per_minute(1), 1, 1_000_000);
        zone.count(&key(number), per_minute(1), 1, 1_000_000);
        assert_eq!(zone.stop(&key(number), 1_000_001), Some(1));
    }
    assert_eq!(zone.statistics(1_000_001).cut, full.cut, "those that are over make room");
}

#[test]
fn the_address_seen_longest_ago_is_forgotten_first() {
    let (words, lock) = (words(32 * KIB), Held::default());
    let zone = Zone::create(&words, SEEDS, &lock).unwrap();
    // Address 0 comes again and again among thousands that come once.
    for number in 1..5000_u32 {
        zone.count(&key(number), per_minute(3), 1, number.into());
        if number % 50 == 0 && number <= 100 {
            zone.count(&key(0), per_minute(3), 1, number.into());
        }
        if number > 100 && number % 50 == 0 {
            let counted = zone.count(&key(0), per_minute(1_000_000), 1, number.into());
            assert_eq!(counted, Counted::Within);
        }
    }
    let statistics = zone.statistics(1001);
    assert!(statistics.forgotten > 1000, "{statistics:?}");
    assert!(statistics.cells <= statistics.cells_room);
    let before = zone.statistics(0).addresses;
    // It is still there: no new record is made for it.
    zone.count(&key(0), per_minute(1_000_000), 1, 5000);
    assert_eq!(zone.statistics(0).addresses, before);
}

#[test]
fn one_address_alone_cannot_break_a_zone_that_is_too_small_for_its_limit() {
    let (words, lock) = (words(32 * KIB), Held::default());
    let zone = Zone::create(&words, SEEDS, &lock).unwrap();
    for now in 0..100_000 {
        assert_eq!(zone.count(&key(1), per_minute(1_000_000), 1, now / 10), Counted::Within);
    }
    let statistics = zone.statistics(1001);
    assert!(statistics.forgotten > 0 && statistics.cells <= statistics.cells_room);
    assert_eq!(zone.count(&key(2), per_minute(1), 1, 10_000), Counted::Within);
    assert!(matches!(zone.count(&key(2), per_minute(1), 1, 10_000), Counted::Exceeded { .. }));
}

#[test]
fn bans_are_lifted_and_their_counts_forgotten() {
    let (words, lock) = (words(64 * KIB), Held::default());
    let zone = Zone::create(&words, SEEDS, &lock).unwrap();
    for number in 0..100 {
        zone.count(&key(number), per_minute(1), 1, 0);
        zone.count(&key(number), per_minute(1), 1, 0);
    }
    assert_eq!(zone.bans(1).count(), 100);
    assert_eq!(zone.lift(1, |ban| ban.key == key(5)), 1);
    assert_eq!(zone.stop(&key(5), 1), None);
    assert_eq!(zone.stop(&key(6), 1), Some(1));
    assert_eq!(zone.lift(1, |_| true), 99);
    assert_eq!(zone.statistics(1).lifted, 100);
    assert_eq!(zone.statistics(1).bans, 0);
}

#[test]
fn bans_survive_a_holder_that_dies_and_counts_begin_anew() {
    let (words, lock) = (words(32 * KIB), Held::default());
    let zone = Zone::create(&words, SEEDS, &lock).unwrap();
    zone.count(&key(1), per_minute(1), 4, 0);
    zone.count(&key(1), per_minute(1), 4, 0);
    zone.count(&key(2), per_minute(2), 4, 0);
    // As it is when a process was killed inside the lock: the mark of a change is left.
    words[8].store(1, Ordering::Relaxed);
    // And whatever it was writing: every link leads nowhere.
    for place in [9, 10, 11, 12] {
        words[place].store(u64::MAX, Ordering::Relaxed);
    }
    assert_eq!(zone.count(&key(2), per_minute(2), 4, 1), Counted::Within);
    assert_eq!(zone.count(&key(2), per_minute(2), 4, 1), Counted::Within, "counted anew");
    assert_eq!(zone.stop(&key(1), 1), Some(4));
    assert_eq!(zone.statistics(0).resets, 1);
    assert_eq!(zone.statistics(1).bans, 1);
}

#[test]
fn damaged_words_never_panic() {
    for seed in 0..200 {
        let mut random = fastrand::Rng::with_seed(seed);
        let (words, lock) = (words(32 * KIB), Held::default());
        let zone = Zone::create(&words, SEEDS, &lock).unwrap();
        for number in 0..300 {
            zone.count(&key(number % 40), per_minute(1 + number % 20), 1, number.into());
        }
        for _ in 0..50 {
            // Not a link of a chain: a ring there is what only the lock's holder could make.
            let place = random.usize(64..64 + 8 * 64);
            words[place].store(random.u64(..), Ordering::Relaxed);
        }
        for number in 0..300 {
            zone.stop(&key(number), 10);
            zone.count(&key(number % 40), per_minute(1 + number % 20), 1, 10_000);
        }
        zone.lift(100, |_| false);
        assert!(zone.bans(0).count() < 10_000);
    }
}

#[test]
fn too_few_words_are_no_zone() {
    let (some, lock) = (words(32 * KIB), Held::default());
    assert!(Zone::create(&some[..Zone::<&Held>::MIN_WORDS - 1], SEEDS, &lock).is_none());
    assert!(Zone::create(&some[..Zone::<&Held>::MIN_WORDS], SEEDS, &lock).is_some());
}

#[test]
fn a_larger_zone_takes_the_bans_over() {
    let ((old, new), lock) = ((words(32 * KIB), words(64 * KIB)), Held::default());
    let old = Zone::create(&old, SEEDS, &lock).unwrap();
    let new = Zone::create(&new, [1, 2, 3], &lock).unwrap();
    for number in 0..50 {
        old.count(&key(number), per_minute(1), 1, 0);
        old.count(&key(number), per_minute(1), 1, 0);
    }
    old.bans(1).for_each(|ban| new.adopt(&ban, 1));
    assert!((0..50).all(|number| new.stop(&key(number), 2) == Some(1)));
}
