//! Tests of pages.

use super::super::Moment;
use super::*;
use crate::exchange::{BindingTag, Tags};
use crate::message::Account;
use crate::message::Timestamp;

fn record(size: u32) -> Record {
    Record {
        message: None,
        tags: Tags::default(),
        state: RecordState::Ready,
        attempts: 0,
        seen: false,
        place: None,
        durable: false,
        priority: 0,
        size,
        counted: size.saturating_sub(2),
        expires: None,
        given: Moment::default(),
    }
}

#[test]
fn pages_go_when_nothing_in_them_lives() {
    let mut log = Log::default();
    let count = 3 * PAGE_RECORDS + 5;
    for i in 0..count {
        assert_eq!(log.push(record(1)), Offset(i));
    }
    for i in 1..2 * PAGE_RECORDS {
        log.remove(Offset(i)).expect("living");
    }
    assert_eq!((log.len(), log.bytes()), (count - 2 * PAGE_RECORDS + 1, log.len()));
    let gone = log.pages.iter().filter(|page| matches!(page, Page::Gone)).count();
    assert_eq!((log.pages.len(), gone), (4, 1), "the second page is gone");
    assert_eq!(log.first_from(Offset(1)), Some(Offset(2 * PAGE_RECORDS)));
    log.remove(Offset(0)).expect("living");
    assert_eq!((log.first, log.pages.len()), (2, 2));
    assert!(log.get(Offset(0)).is_none() && log.remove(Offset(5)).is_none());
    let mut left = Vec::new();
    log.visit(Offset(0), |offset, _| {
        left.push(offset);
        ControlFlow::Continue(())
    });
    assert_eq!(left.len() as u64, log.len());
    for offset in left {
        log.remove(offset).expect("living");
    }
    assert!(log.is_empty() && log.first_from(Offset(0)).is_none());
    assert_eq!(log.push(record(1)), Offset(count));
    assert_eq!(log.first_from(Offset(0)), Some(Offset(count)));
}

#[test]
fn recovery_puts_records_where_they_were() {
    let mut log = Log::default();
    log.skip_to(Offset(5000));
    assert!(log.put(Offset(6000), record(3)));
    assert!(!log.put(Offset(6000), record(9)));
    assert_eq!((log.len(), log.bytes(), log.next()), (1, 3, Offset(6001)));
    assert_eq!(log.first_from(Offset(0)), Some(Offset(6000)));
    assert!(log.put(Offset(10), record(9)), "somewhat out of order");
    assert_eq!((log.first_from(Offset(0)), log.len()), (Some(Offset(10)), 2));
}

#[test]
fn pages_rest_and_come_back() {
    let stored = |n: u64| Record {
        place: Some(Place { pos: 1 + n / 100, index: (n % 100) as u32 }),
        durable: n != 2000,
        expires: n.is_multiple_of(5).then_some(Timestamp(n)),
        ..record(10)
    };
    let mut log = Log::default();
    let count = 4 * PAGE_RECORDS + 7;
    for n in 0..count {
        log.push(stored(n));
    }
    log.get_mut(Offset(3 * PAGE_RECORDS)).expect("living").state = RecordState::InFlight(1);
    let before = (log.len(), log.bytes(), log.counted(), log.expiring);
    log.freeze();
    let cold = |log: &Log| log.pages.iter().filter(|p| matches!(p, Page::Cold(_))).count();
    assert_eq!(
        (cold(&log), log.len(), log.bytes(), log.counted(), log.expiring),
        (3, before.0, before.1, before.2, before.3)
    );
    let mut seen = 0;
    log.visit(Offset(5), |offset, record| {
        assert_eq!(record.place.map(|p| p.pos), Some(1 + offset.0 / 100));
        seen += 1;
        ControlFlow::Continue(())
    });
    assert_eq!(seen, count - 5);
    let pages: Vec<(u64, Cold)> = log.stored(0).collect();
    assert_eq!(pages.iter().map(|(_, page)| u64::from(page.live)).sum::<u64>(), count - 1);
    let mut found = Vec::new();
    log.visit_places(&(11..12), |offset, _, _| found.push(offset.0));
    assert_eq!(found, (1000..1100).collect::<Vec<u64>>());
    assert_eq!(cold(&log), 3, "looking wakes nothing");
    assert!(log.remove(Offset(1500)).is_some());
    assert_eq!(
        (cold(&log), log.len(), log.first_from(Offset(1500))),
        (2, count - 1, Some(Offset(1501)))
    );
    let mut back = Log::default();
    for (number, page) in pages {
        back.put_page(number, Cold::read(page.bytes().clone()).expect("whole"));
    }
    back.grow_old();
    assert_eq!((back.len(), back.next()), (count - 1, Offset(count)));
    assert!(back.get(Offset(2000)).is_none() && back.is_old(Offset(count - 1)));
    assert_eq!(back.get(Offset(2001)).map(|r| r.place), Some(Some(Place { pos: 21, index: 1 })));
}

#[test]
fn what_pages_take_is_counted() {
    let budget = Arc::new(Budget::new(1 << 30, 1 << 31));
    let mut log = Log::default();
    log.charge_to(&budget);
    let check = |log: &Log| {
        let (mut hot_bytes, mut cold_bytes, mut numbers) = (0, 0, Vec::new());
        for (index, page) in log.pages.iter().enumerate() {
            match page {
                Page::Gone => {}
                Page::Cold(cold) => cold_bytes += cold.memory(),
                Page::Hot(hot) => {
                    hot_bytes += hot.memory();
                    numbers.push(log.first + index as u64);
                }
            }
        }
        cold_bytes += log.pages.capacity() * size_of::<Page>();
        assert_eq!(log.memory.bytes(), (hot_bytes, cold_bytes));
        assert_eq!(log.hot, numbers);
        let used = |account| budget.used(account);
        assert_eq!((used(Account::Waiting), used(Account::Kept)), (hot_bytes, cold_bytes));
    };
    let count = 200 * PAGE_RECORDS;
    let tag = |id| Tags::new(&[BindingTag { level: 1, flags: 0, id }]);
    for n in 0..count {
        let place = Some(Place { pos: n + 1, index: 0 });
        log.push(Record { place, tags: tag((n / 7) as u32), ..record(1) });
    }
    check(&log);
    log.get_mut(Offset(7000)).expect("living").state = RecordState::InFlight(3);
    log.freeze();
    check(&log);
    log.freeze_among(0..u64::MAX);
    assert!(!log.has_hot());
    check(&log);
    assert_eq!(log.get(Offset(7000)).map(|r| r.state), Some(RecordState::InFlight(3)));
    assert_eq!(log.stored(0).count(), 0, "none of them is durable");
    log.get(Offset(100_000));
    log.get(Offset(500));
    check(&log);
    for n in 0..count - 1 {
        log.remove(Offset(n)).expect("living");
        if n % 10_007 == 0 {
            check(&log);
        }
    }
    log.remove(Offset(count - 1)).expect("living");
    log.freeze_among(0..u64::MAX);
    check(&log);
    assert!(log.memory.bytes().0 == 0 && log.pages.is_empty());
    assert_eq!(log.push(record(1)), Offset(count));
    assert_eq!(log.first_from(Offset(0)), Some(Offset(count)));
    check(&log);
    drop(log);
    assert_eq!((budget.used(Account::Waiting), budget.used(Account::Kept)), (0, 0));
}

#[test]
fn what_passes_through_takes_the_room_of_what_is_there() {
    let budget = Arc::new(Budget::new(1 << 30, 1 << 30));
    let mut log = Log::default();
    log.charge_to(&budget);
    let there = 3;
    for n in 0..PAGE_RECORDS / 2 {
        assert_eq!(log.push(record(1)), Offset(n));
        if let Some(gone) = n.checked_sub(there) {
            assert_eq!(log.first_from(Offset(0)), Some(Offset(gone)));
            log.remove(Offset(gone)).expect("living");
        }
        assert!(log.get(Offset(n)).is_some() && log.get(Offset(n + 1)).is_none());
    }
    let room = budget.used(Account::Waiting);
    assert!(room <= hot_bytes(8), "{room} bytes for {there} records");
    let mut seen = Vec::new();
    log.visit_hot((0, 1), |_, offset, _| seen.push(offset));
    assert_eq!(seen, (PAGE_RECORDS / 2 - there..PAGE_RECORDS / 2).map(Offset).collect::<Vec<_>>());
    seen.into_iter().rev().for_each(|offset| _ = log.remove(offset).expect("living"));
    // The rest of the page is used, and what recovery puts in front of it, too.
    log.skip_to(Offset(PAGE_RECORDS - 3));
    assert_eq!(log.push(record(1)), Offset(PAGE_RECORDS - 3));
    assert!(log.put(Offset(PAGE_RECORDS - 9), record(2)) && log.put(Offset(7), record(4)));
    assert!(!log.put(Offset(7), record(8)) && log.put(Offset(8), record(8)));
    let living: Vec<Offset> = [7, 8, PAGE_RECORDS - 9, PAGE_RECORDS - 3].map(Offset).into();
    let mut seen = Vec::new();
    log.visit(Offset(0), |offset, _| {
        seen.push(offset);
        ControlFlow::Continue(())
    });
    assert_eq!((seen, log.bytes()), (living.clone(), 15));
    living.into_iter().for_each(|offset| _ = log.remove(offset).expect("living"));
    assert_eq!((log.len(), log.next()), (0, Offset(PAGE_RECORDS - 2)));
}
