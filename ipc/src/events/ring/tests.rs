//! Rings: whole records or none, and what is lost is counted.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::AtomicBool;

use super::*;

struct Place {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

fn place_for_one() -> Place {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("traffic.ring");
    Place { _folder: folder, path }
}

fn all(reader: &mut RingReader, now_ms: u64) -> Vec<Vec<u8>> {
    let (mut records, mut record) = (Vec::new(), Vec::new());
    while reader.next(now_ms, &mut record) {
        records.push(record.clone());
    }
    records
}

#[test]
fn records_of_every_length_come_back() {
    let place = place_for_one();
    let ring = Ring::open(&place.path, SIZE_MIN).unwrap();
    let mut reader = RingReader::open(&place.path).unwrap();
    assert_eq!(all(&mut reader, 0), Vec::<Vec<u8>>::new());
    for length in (0..200).chain([1000, RECORD_MAX]) {
        let record: Vec<u8> = (0..length).map(|nth| (nth * 7) as u8).collect();
        assert!(ring.write(&record));
        assert_eq!(all(&mut reader, 0), [record]);
    }
    assert!(!ring.write(&vec![0; RECORD_MAX + 1]));
    assert_eq!(reader.lost(), 0);
}

#[test]
fn what_was_overwritten_is_counted() {
    let place = place_for_one();
    let ring = Ring::open(&place.path, SIZE_MIN).unwrap();
    let mut reader = RingReader::open(&place.path).unwrap();
    let (mut last, mut read) = (0_u64, 0);
    for _ in 0..4 {
        for _ in 0..100_000 {
            last += 1;
            ring.write(&[&last.to_le_bytes()[..], &[0xff; 60]].concat());
        }
        let records = all(&mut reader, 0);
        assert_eq!(records.last().unwrap()[..8], last.to_le_bytes());
        assert!(
            records.is_sorted_by_key(|record| u64::from_le_bytes(*record.first_chunk().unwrap()))
        );
        read += records.len() as u64;
        assert_eq!(reader.lost(), last - read, "of {last}");
    }
    // Another one goes back as far as there is something.
    let mut other = RingReader::open(&place.path).unwrap();
    assert!(all(&mut other, 0).is_empty());
    other.rewind();
    let count = all(&mut other, 0).len();
    assert!(count > SIZE_MIN / 128 / 2, "{count}");
    assert_eq!(other.lost(), 0);
}

#[test]
fn a_writer_that_died_is_stepped_over() {
    let place = place_for_one();
    let ring = Ring::open(&place.path, SIZE_MIN).unwrap();
    let mut reader = RingReader::open(&place.path).unwrap();
    ring.write(b"before");
    // Reserved, half written: what a killed process leaves.
    let first = ring.words.get()[AT_HEAD].fetch_add(3, Relaxed);
    ring.words.get()[AT_NUMBERS].fetch_add(1, Relaxed);
    // It even looks like a record, where bytes of visitors are.
    ring.words.get()[ring.place(first) + 3].store(tag(first, true), Relaxed);
    ring.words.get()[ring.place(first + 1)].store(tag(first + 1, false), Relaxed);
    ring.write(b"after");
    assert_eq!(all(&mut reader, 1000), [b"before"]);
    assert_eq!(all(&mut reader, 1000 + GRACE_MS - 1), Vec::<Vec<u8>>::new());
    assert_eq!(all(&mut reader, 1000 + GRACE_MS), [b"after"]);
    assert_eq!(reader.lost(), 1);
    ring.write(b"more");
    assert_eq!(all(&mut reader, 2000), [b"more"]);
    assert_eq!(reader.lost(), 1);
}

#[test]
fn a_writer_that_is_only_slow_is_waited_for() {
    let place = place_for_one();
    let ring = Ring::open(&place.path, SIZE_MIN).unwrap();
    let mut reader = RingReader::open(&place.path).unwrap();
    ring.write(b"record");
    let tag_at = ring.place(0);
    let tag = ring.words.get()[tag_at].swap(0, Relaxed);
    assert_eq!(all(&mut reader, 0), Vec::<Vec<u8>>::new());
    ring.words.get()[tag_at].store(tag, Relaxed);
    assert_eq!(all(&mut reader, 1), [b"record"]);
    assert_eq!(reader.lost(), 0);
}

#[test]
fn a_late_writers_mixture_is_not_taken_for_a_record() {
    let place = place_for_one();
    let ring = Ring::open(&place.path, SIZE_MIN).unwrap();
    let mut reader = RingReader::open(&place.path).unwrap();
    ring.write(&[7; 100]);
    ring.write(b"next");
    // One word of another round.
    ring.words.get()[ring.place(0) + 4].store(99, Relaxed);
    assert_eq!(all(&mut reader, 0), [b"next"]);
    assert_eq!(reader.lost(), 1);
}

#[test]
fn many_writers_and_a_reader_see_whole_records() {
    let place = place_for_one();
    let ring = Ring::open(&place.path, SIZE_MIN).unwrap();
    let mut reader = RingReader::open(&place.path).unwrap();
    let done = AtomicBool::new(false);
    let (mut read, mut last) = (0_u64, [0_u64; 4]);
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..4_u8)
            .map(|writer| {
                let ring = &ring;
                scope.spawn(move || {
                    for turn in 1..=50_000_u64 {
                        let length = 16 + (turn * 31 % 500) as usize;
                        let mut record = vec![writer; length];
                        record[..8].copy_from_slice(&turn.to_le_bytes());
                        ring.write(&record);
                    }
                })
            })
            .collect();
        let done = &done;
        scope.spawn(move || {
            writers.into_iter().for_each(|writer| writer.join().unwrap());
            done.store(true, Ordering::Release);
        });
        let mut record = Vec::new();
        let start = std::time::Instant::now();
        loop {
            let was_done = done.load(Ordering::Acquire);
            let now_ms = start.elapsed().as_millis() as u64;
            while reader.next(now_ms, &mut record) {
                let turn = u64::from_le_bytes(*record.first_chunk().unwrap());
                let writer = record[8];
                assert_eq!(record.len(), 16 + (turn * 31 % 500) as usize);
                assert!(record[8..].iter().all(|byte| *byte == writer));
                assert!(turn > last[usize::from(writer)], "in order, and once");
                last[usize::from(writer)] = turn;
                read += 1;
            }
            if was_done {
                break;
            }
        }
    });
    assert!(read > 0);
    assert_eq!(read + reader.lost(), 200_000);
    assert!(last.contains(&50_000));
}

#[test]
fn a_good_ring_is_used_further_and_any_other_file_replaced() {
    let place = place_for_one();
    let ring = Ring::open(&place.path, SIZE_MIN).unwrap();
    ring.write(b"kept");
    let mut reader = RingReader::open(&place.path).unwrap();
    assert!(Ring::open(&place.path, SIZE_MIN).unwrap().write(b"by another"));
    assert_eq!(all(&mut reader, 0), [b"by another"]);
    assert!(reader.is_at(&place.path) && ring.is_at(&place.path));
    assert_eq!(fs::metadata(&place.path).unwrap().mode() & 0o777, 0o640);

    // Another size, a foreign file, a cut one, one that others may write to, a hole.
    let changes: [fn(&Path) -> usize; 5] = [
        |_| 2 * SIZE_MIN,
        |path| {
            fs::remove_file(path).unwrap();
            fs::write(path, b"something").unwrap();
            SIZE_MIN
        },
        |path| {
            OpenOptions::new().write(true).open(path).unwrap().set_len(4096).unwrap();
            SIZE_MIN
        },
        |path| {
            fs::set_permissions(path, fs::Permissions::from_mode(0o660)).unwrap();
            SIZE_MIN
        },
        |path| {
            fs::remove_file(path).unwrap();
            let file = File::create(path).unwrap();
            file.set_len((HEADER_BYTES + SIZE_MIN) as u64).unwrap();
            SIZE_MIN
        },
    ];
    drop((ring, reader));
    for change in changes {
        let size = change(&place.path);
        let before = fs::metadata(&place.path).unwrap().ino();
        let held = File::open(&place.path).unwrap();
        let ring = Ring::open(&place.path, size).unwrap();
        assert_ne!(fs::metadata(&place.path).unwrap().ino(), before);
        let mut reader = RingReader::open(&place.path).unwrap();
        ring.write(b"new");
        assert_eq!(all(&mut reader, 0), [b"new"]);
        drop(held);
    }
    let names: Vec<_> = fs::read_dir(place.path.parent().unwrap()).unwrap().collect();
    assert_eq!(names.len(), 1, "{names:?}");
}

#[test]
fn what_is_no_ring_is_refused() {
    let place = place_for_one();
    assert!(matches!(Ring::open(&place.path, 3 << 20), Err(RingError::Size(_))));
    assert!(matches!(Ring::open(&place.path, SIZE_MIN / 2), Err(RingError::Size(_))));
    assert!(matches!(RingReader::open(&place.path), Err(RingError::Io(_))));
    for bytes in [vec![], vec![0; 100], vec![0; HEADER_BYTES + SIZE_MIN]] {
        fs::write(&place.path, bytes).unwrap();
        assert!(matches!(RingReader::open(&place.path), Err(RingError::Foreign)));
    }
}

#[test]
fn a_file_that_was_shortened_is_noticed_and_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ring");
    let ring = Ring::open(&path, SIZE_MIN).unwrap();
    assert!(ring.is_whole() && ring.is_at(&path));
    OpenOptions::new().write(true).open(&path).unwrap().set_len(HEADER_BYTES as u64).unwrap();
    assert!(!ring.is_whole() && ring.is_at(&path));
    let other = Ring::open(&path, SIZE_MIN).unwrap();
    assert!(other.is_whole() && !ring.is_at(&path) && other.write(b"1"));
}
