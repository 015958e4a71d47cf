//! What the log promises, over kills, restarts and stops.

mod world;

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::sync::mpsc;
use tidemill_core::ids::CheckpointId;

use tidemill_storage::RealDisk;

use self::world::{Client, FILES, Lane, TCP, World, numbers};
use super::*;

#[test]
fn what_was_acknowledged_survives_a_process_that_goes_without_a_word() {
    let world = World::new(TCP);
    let mut process = world.begin(1);
    let mut client = Client::hello(&process, "a");
    client.send(0..10);
    assert_eq!(process.take(10), numbers(0..10));
    process.checkpoint(3);
    client.send(10..15);
    client.send(15..20);
    // Not in the checkpoint.
    process.take(1);
    drop(process);
    let mut process = world.begin(2);
    let mut client = Client::hello(&process, "a");
    assert_eq!(client.known, 20, "from the manifest, and the log");
    assert_eq!(Client::hello(&process, "b").known, 0);
    client.send(20..25);
    assert_eq!(process.take(15), numbers(10..25));
    assert_eq!(process.log.statistics.read().replayed_records, 10);
    process.checkpoint(3);
    drop(process);
    // From the manifest alone.
    assert_eq!(Client::hello(&world.begin(3), "a").known, 25);
}

#[test]
fn a_restart_in_the_process_keeps_connections_and_what_came_in_between() {
    let world = World::new(TCP);
    let mut process = world.begin(1);
    let mut client = Client::hello(&process, "a");
    client.send(0..5);
    process.take(3);
    process.checkpoint(3);
    let covered = process.manifest.sources[0].partitions[0].position.offset;
    process.lanes.clear();
    process.log.close().unwrap();
    // There is no log now.
    client.stream.write_all(b"5\n6\n").unwrap();
    process.manifest.incarnation.0 += 1;
    process.begin().unwrap();
    client.send(7..9);
    let found = process.take(9 - 5);
    assert!(covered > 0 && found.len() >= 4);
    assert_eq!(found.last().unwrap(), "8");
    process.restart();
    process.restart();
    client.send(9..10);
    assert!(process.log.statistics.read().wal.records >= 3, "over all incarnations");
}

#[test]
fn a_stop_keeps_for_the_next_run_what_was_not_handed_out() {
    let world = World::new(TCP);
    let mut process = world.begin(1);
    let mut client = Client::hello(&process, "a");
    client.send(0..5);
    process.take(5);
    client.send(5..8);
    process.lanes[0].reader.stop();
    assert!(!process.lanes[0].reader.is_ready());
    process.checkpoint(3);
    process.lanes.clear();
    process.log.close().unwrap();
    assert!(TcpStream::connect(process.address()).is_err());
    drop(process);
    let mut process = world.begin(2);
    assert_eq!(process.take(3), numbers(5..8));
    assert_eq!(process.log.statistics.read().cut_bytes, 0, "it was sealed");
}

#[test]
fn logged_files_are_read_once_and_go_on_where_the_log_ends() {
    let world = World { job: String::new(), ..World::new(FILES) };
    let world = World { job: format!("parallelism = 2\n{}", World::new(FILES).job), ..world };
    fs::create_dir(world.path("in")).unwrap();
    let mut expected = Vec::new();
    for file in 0..12 {
        let lines: Vec<String> = (0..1500).map(|line| format!("{file} {line}")).collect();
        fs::write(world.path(&format!("in/{file:02}")), lines.join("\n")).unwrap();
        expected.extend(lines);
    }
    let mut found = Vec::new();
    let mut process = world.begin(1);
    let partitions = process.manifest.sources[0].partitions.len();
    assert!(partitions > 12, "{partitions}");
    found.extend(process.lanes[0].take(2000));
    found.extend(process.lanes[1].take(100));
    process.checkpoint(3);
    process.lanes[1].take(300);
    drop(process);
    let mut process = world.begin(2);
    found.extend(process.lanes[0].take(1000));
    process.checkpoint(3);
    process.restart();
    let mut lanes = std::mem::take(&mut process.lanes);
    let rests = std::thread::scope(|scope| {
        let take = |lane: &mut Lane| lane.take(usize::MAX);
        let threads: Vec<_> =
            lanes.iter_mut().map(|lane| scope.spawn(move || take(lane))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    found.extend(rests.into_iter().flatten());
    process.lanes = lanes;
    process.checkpoint(3);
    assert!(process.manifest.sources[0].partitions.iter().all(|at| at.position.ended));
    found.sort();
    expected.sort();
    assert!(found == expected, "{} of {}", found.len(), expected.len());
    // Nothing is left to be read, or needed.
    drop(process);
    assert!(world.begin(4).lanes.iter_mut().all(|lane| lane.take(1).is_empty()));
}

#[test]
fn half_a_quota_presses_and_a_checkpoint_makes_room() {
    let world = World::new(&format!("wal-quota = \"16MiB\"\n{TCP}"));
    let mut process = world.begin(1);
    let mut stream = TcpStream::connect(process.address()).unwrap();
    let line = format!("{}\n", "x".repeat(64 * 1024 - 1));
    // More than the quota, as long as checkpoints make room.
    for round in 0..4 {
        for _ in 0..150 {
            stream.write_all(line.as_bytes()).unwrap();
            process.take(1);
        }
        let event = process.events.as_ref().unwrap().recv().unwrap();
        assert!(matches!(event, Event::WalPressure(usage) if usage.is_pressing()), "{round}");
        assert_eq!(process.log.retained(3), 1);
        process.checkpoint(1);
        process.events.as_ref().unwrap().try_iter().count();
    }
    assert!(process.log.statistics.read().wal.trimmed_bytes > 16 << 20);
    assert_eq!(process.log.blocked_by(), None);
}

#[test]
fn a_full_log_says_what_keeps_it_and_takes_input_again_after_a_checkpoint() {
    let world = World::new(&format!("wal-quota = \"16MiB\"\n{TCP}"));
    let mut process = world.begin(1);
    let address = process.address();
    let client = std::thread::spawn(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        let line = format!("{}\n", "x".repeat(64 * 1024 - 1));
        (0..400).for_each(|_| stream.write_all(line.as_bytes()).unwrap());
        stream
    });
    // Half of the quota, then all of it.
    let mut taken = 0;
    while process.log.blocked_by().is_none() {
        assert!(taken < 300, "it is never full");
        match process.lanes[0].reader.is_ready() {
            true => taken += process.take(1).len(),
            false => std::thread::yield_now(),
        }
    }
    let blocked_by = process.log.blocked_by().unwrap();
    assert!(blocked_by.contains("the beginning of the job"), "{blocked_by}");
    // What was handed out since a checkpoint never fills the quota, so nobody waits for ever.
    while taken < 400 {
        process.checkpoint(1);
        taken += process.take(8.min(400 - taken)).len();
    }
    drop(client.join().unwrap());
}

#[test]
fn what_no_retained_checkpoint_needs_is_trimmed_and_the_rest_is_there() {
    let world = World::new(&format!("wal-quota = \"16MiB\"\n{TCP}"));
    let mut process = world.begin(1);
    let mut client = Client::hello(&process, "a");
    for round in 0..6 {
        client.send(round * 10..round * 10 + 10);
        assert_eq!(process.take(10).len(), 10);
        process.checkpoint(2);
    }
    let starts: Vec<_> = lock(&process.log.retained).iter().collect();
    assert_eq!(starts.iter().map(|(checkpoint, _)| checkpoint.0).collect::<Vec<_>>(), [5, 6]);
    assert!(starts[0].1 < starts[1].1);
    drop(process);
    // What is trimmed before old checkpoints are dropped is missed by nobody.
    let process = world.begin(2);
    assert_eq!(lock(&process.log.retained).iter().count(), 2);
}

#[test]
fn a_damaged_log_is_refused_with_file_and_offset() {
    let world = World::new(TCP);
    let mut process = world.begin(1);
    Client::hello(&process, "a").send(0..10);
    process.lanes.clear();
    process.log.close().unwrap();
    drop(process);
    let wal = world.path("data").join(DIRECTORY);
    let segment = fs::read_dir(&wal).unwrap().next().unwrap().unwrap().path();
    let mut bytes = fs::read(&segment).unwrap();
    let at = bytes.windows(4).position(|bytes| bytes == b"0123").unwrap_or(4096 + 40 + 60);
    bytes[at] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let refused = world.start(2).begin().unwrap_err().to_string();
    let name = segment.file_name().unwrap().to_str().unwrap().to_owned();
    assert!(refused.contains(&format!("{DIRECTORY}/{name} is damaged at byte ")), "{refused}");
    assert!(refused.contains("put the file back"), "{refused}");
}

#[test]
fn a_job_without_logged_sources_has_no_log() {
    let world = World::new(&FILES.replace("wal = \"inputs\"\n", ""));
    fs::create_dir(world.path("in")).unwrap();
    fs::write(world.path("in/a"), "line").unwrap();
    let mut process = world.start(1);
    let (events, _reports) = mpsc::channel();
    process.log.open(&process.manifest, &process.sources, &process.places, &events).unwrap();
    assert!(!process.log.is_logged(0) && process.log.wal_start(&process.manifest).is_none());
    assert!(!world.path("data").join(DIRECTORY).exists());
    process.log.close().unwrap();
}

#[test]
fn a_source_that_is_logged_now_and_was_not_then_is_refused_and_the_other_way_round() {
    let mut world = World::new(&FILES.replace("wal = \"inputs\"\n", ""));
    fs::create_dir(world.path("in")).unwrap();
    fs::write(world.path("in/a"), "line").unwrap();
    let process = world.start(1);
    let mut manifest = process.manifest.clone();
    manifest.checkpoint = CheckpointId(1);
    process.places.checkpoints.write_manifest(&manifest).unwrap();
    world.job = world.job.replace("[sources", "wal = \"inputs\"\n[sources");
    let mut process = world.start(2);
    let refused = process.begin().unwrap_err().to_string();
    assert!(refused.contains("was not logged then"), "{refused}");
    let logged = process.log.first_positions(0, &process.sources[0]);
    let refused = Source::resume("in", &world.plan().sources[0].settings, &logged);
    let refused = refused.map(|_| ()).unwrap_err().to_string();
    assert!(refused.contains("set wal = \"inputs\" again"), "{refused}");
}

#[test]
fn a_fresh_job_replays_nothing() {
    let world = World::new(TCP);
    let process = world.begin(1);
    Client::hello(&process, "a").send(0..3);
    drop(process);
    let job = RealDisk::create(&world.path("data")).unwrap();
    InputLog::drop_all(&job).unwrap();
    let mut process = world.begin(2);
    let mut client = Client::hello(&process, "a");
    assert_eq!(client.known, 0);
    client.send(0..1);
    assert_eq!(process.take(1), ["0"]);
}
