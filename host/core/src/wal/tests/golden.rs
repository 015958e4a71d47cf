//! The bytes of a small segment, as they are for ever.

use super::*;

const GOLDEN: &str = "
0000 544944454d57414c0100000000000000
0010 01000000000000000100000000000000
0020 03000000000000004a03fd412a764131
0030 4f2632aadaa485920000000000000000
0050 01000000000000000000000000000000
0ff0 000000000000000000000000ca075373
1000 1caaaffc526e447c0100000000000000
1010 00000000000000000000000008000000
1020 8ad8adeb020000000300000000000000
1030 241bc1d1cbe946000200000000000000
1040 01000000000000001caaaffc1f000000
1050 c8fc03ac010000000200080000000000
1060 0000000000000000696e6c697374656e
1070 657268656c6c6f006e736e4ddc4d1f23
1080 03000000000000000100000000000000
1090 241bc1d11a000000c5e114ce01000000
10a0 02000800000000000100000000000000
10b0 696e6c697374656e6572000000000000
10c0 8cc1438b3fa9da520400000000000000
10d0 03000000000000006e736e4d00000000
10e0 0000000003000000d88218e914639ee6
10f0 05000000000000000400000000000000
1100 8cc1438b000000000000000004000000
";

/// Lines of 16 bytes that are not all zero, with their offsets.
fn dump(bytes: &[u8]) -> String {
    let lines = bytes.chunks(16).enumerate().filter(|(_, line)| line.iter().any(|byte| *byte != 0));
    let text = lines.map(|(index, line)| {
        let hex: String = line.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{:04x} {hex}\n", index * 16)
    });
    text.collect()
}

#[test]
fn a_segment_has_the_bytes_that_every_later_version_must_read() {
    let disk = MemoryDisk::default();
    let mut wal = begin(&disk, 3);
    let partition = wal.partition("in", "listener").unwrap();
    wal.append(partition, b"hello").unwrap();
    wal.append(partition, b"").unwrap();
    wal.sync().unwrap();
    wal.idle().unwrap();
    wal.seal().unwrap();
    let bytes = disk.read(&path(1));
    assert_eq!(bytes.len() % 512, 0);
    assert_eq!(dump(&bytes), GOLDEN.trim_start(), "\n{}", dump(&bytes));
}

#[test]
fn the_golden_segment_is_read() {
    let mut bytes = vec![0; 8192];
    for line in GOLDEN.lines().filter(|line| !line.is_empty()) {
        let (offset, hex) = line.split_once(' ').unwrap();
        let offset = usize::from_str_radix(offset, 16).unwrap();
        for index in 0..16 {
            let byte = u8::from_str_radix(&hex[index * 2..index * 2 + 2], 16).unwrap();
            bytes[offset + index] = byte;
        }
    }
    let disk = MemoryDisk::default();
    disk.put(&path(1), &bytes);
    let found = recovered(&disk, &known(None)).unwrap();
    assert_eq!((found.last_lsn, found.incarnation), (5, Incarnation(3)));
    let rows = replay_found(&disk, &found).unwrap();
    let row = |lsn, seq, body: &[u8]| (lsn, "listener".to_owned(), seq, body.to_vec());
    assert_eq!(rows, [row(2, 0, b"hello"), row(3, 1, b"")]);
}
