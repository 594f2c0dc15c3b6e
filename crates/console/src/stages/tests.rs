use hubwarden_bus::{Memory, Record, Sink};

use super::*;

const START: Timestamp = Timestamp::from_millis(1_741_600_000_000);

fn member(name: &str, owns: &[u32]) -> Member {
    Member {
        stage: "normalizer".into(),
        name: name.into(),
        host: "10.0.0.1".into(),
        owns: owns.iter().map(|partition| (topic::RAW, *partition)).collect(),
    }
}

/// Takes a look at a second at which `raw` ends so and the normalizer stands so.
fn look(watch: &StageWatch, second: i64, places: &[(u64, u64)], members: &[Member]) {
    let (mut ends, mut stored) = (Positions::none(), Positions::none());
    for (partition, (end, position)) in (0..).zip(places) {
        ends.set(topic::RAW, partition, *end);
        stored.set(topic::RAW, partition, *position);
    }
    let stored = [("normalizer".to_owned(), stored)];
    watch.take(START.plus_millis(second * 1000), &ends, &stored, members.to_vec());
}

fn normalizer(watch: &StageWatch) -> StageStatus {
    watch.stages().remove(0)
}

#[test]
fn rates_are_those_of_the_last_minute() {
    let watch = StageWatch::default();
    assert_eq!(watch.stages(), []);
    look(&watch, 0, &[(1000, 0)], &[]);
    let first = normalizer(&watch);
    assert_eq!((first.lag, first.in_per_s, first.out_per_s), (1000, None, None));
    look(&watch, 10, &[(1100, 500)], &[]);
    let status = normalizer(&watch);
    assert_eq!((status.lag, status.in_per_s, status.out_per_s), (600, Some(10.0), Some(50.0)));
    for second in 2..=9 {
        look(&watch, second * 10, &[(1100, 500)], &[]);
    }
    let status = normalizer(&watch);
    assert_eq!((status.in_per_s, status.out_per_s), (Some(0.0), Some(0.0)), "before the minute");
    // A stage that goes back is no negative rate; a bus that was away long is no rate at all.
    look(&watch, 95, &[(1100, 100)], &[]);
    assert_eq!(normalizer(&watch).out_per_s, Some(0.0));
    look(&watch, 900, &[(9000, 100)], &[]);
    assert_eq!(normalizer(&watch).in_per_s, None);
}

#[test]
fn a_partition_that_stands_with_something_to_read_is_named() {
    let watch = StageWatch::default();
    let members = [member("a", &[0, 2]), member("b", &[1])];
    // 0 moves, 1 stands, 2 has nothing to read, 3 belongs to nobody.
    for second in 0..=12_i64 {
        let moved = second.unsigned_abs();
        look(&watch, second * 5, &[(99, moved), (50, 40), (7, 7), (1, 0)], &members);
        let standing: Vec<u32> = normalizer(&watch).standing().map(|one| one.partition).collect();
        assert_eq!(standing, if second < 12 { vec![] } else { vec![1, 3] }, "{second}");
    }
    let status = normalizer(&watch);
    assert_eq!(status.partitions[1].stands_since, Some(START));
    let owners: Vec<_> = status.partitions.iter().map(|one| one.owner.as_deref()).collect();
    assert_eq!(owners, [Some("a"), Some("b"), Some("a"), None]);
    assert_eq!(
        status.members.iter().map(|one| &one.partitions[..]).collect::<Vec<_>>(),
        [&[0, 2][..], &[1]]
    );
    // One record is enough to move on.
    look(&watch, 65, &[(99, 13), (50, 41), (7, 7), (1, 0)], &members);
    assert_eq!(normalizer(&watch).standing().map(|one| one.partition).collect::<Vec<_>>(), [3]);
    // New records for a stage that had read everything: it stands from now on, not from then.
    look(&watch, 70, &[(99, 13), (50, 41), (9, 7), (1, 1)], &members);
    assert_eq!(normalizer(&watch).standing().count(), 0);
}

#[test]
fn the_oldest_waiting_record_says_how_far_behind_a_stage_is() {
    let watch = StageWatch::default();
    for (second, end, position, behind) in [
        (0, 10, 10, 0),
        (5, 20, 10, 0), // what came since has waited for less than a look
        (15, 30, 10, 10),
        (20, 30, 15, 15), // the oldest came with those seen at second 5
        (25, 30, 20, 10), // now it is one of those seen at second 15
        (30, 30, 30, 0),
    ] {
        look(&watch, second, &[(end, position)], &[]);
        assert_eq!(normalizer(&watch).behind_s, Some(behind), "second {second}");
    }
}

#[test]
fn the_history_has_a_point_a_minute_and_ends() {
    let watch = StageWatch::default();
    for second in 0..12 * 70_i64 {
        let written = second.unsigned_abs() * 50;
        look(&watch, second * 5, &[(written, written / 2)], &[]);
    }
    let history = watch.history();
    assert_eq!(history[0].len(), MINUTES);
    assert!(history[0].iter().all(|point| (point.in_per_s, point.out_per_s) == (10.0, 5.0)));
    assert_eq!(history[0].last().unwrap().at, START.plus_millis(69 * 60_000));
    assert!(history[0].is_sorted_by(|a, b| a.lag < b.lag));
    assert!(watch.lock().recent.len() <= 13, "what is kept is bounded");
}

#[tokio::test]
async fn a_bus_is_looked_at_until_stopped() {
    let bus = Memory::with_partitions(3);
    let record = |number: u32| Record::new(topic::RAW, "", number.to_string()).at(number % 3);
    bus.writer("w").commit((0..9).map(record).collect(), &Positions::none()).await.unwrap();
    let mut reader = bus.reader("normalizer", &[topic::RAW]).unwrap();
    reader.commit(Vec::new(), &Positions::of(topic::RAW, 1, 2)).await.unwrap();
    let (watch, stop) = (StageWatch::default(), CancellationToken::new());
    let running = tokio::spawn(watch.clone().run(bus.clone(), stop.clone()));
    while watch.looked_at().is_none() {
        tokio::task::yield_now().await;
    }
    let stages = watch.stages();
    let lags: Vec<_> = stages.iter().map(|stage| (stage.name.as_str(), stage.lag)).collect();
    assert_eq!(lags, [("normalizer", 7), ("match", 0), ("correlate", 0), ("console", 0)]);
    assert_eq!(stages[0].members.len(), 1);
    assert_eq!(stages[0].members[0].partitions, [0, 1, 2]);
    assert_eq!(stages[0].partitions[1].lag, 1);
    assert!(stages[1].members.is_empty());
    stop.cancel();
    running.await.unwrap().unwrap();
}
