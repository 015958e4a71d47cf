//! Attacks through a directory that was granted: ways out of it, changes in it, and files that are none or too much.
//!
//! Each guest first reads a file that it may read, and traps where it cannot: an attack on a grant that is not there
//! would prove nothing. It traps as well when something succeeds that must not.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::attack::{Attack, End, Job, storm};
use crate::guest::Guest;

/// What the tenant's policy allows.
const ALLOWED: &str = "[tenants.mallory.grants]\ndirectories = [\"granted\", \"/dev\"]\n";
/// What the job asks for.
const GRANTS: &str = "[operators.attack.grants]\ndirectories = [{ path = \"granted\" }]\n";

/// Codes of WASI, by their place in its list.
const QUOTA: u32 = 6;
const NOT_PERMITTED: u32 = 31;
const READ_ONLY: u32 = 33;

/// How a path of an attack is opened: itself, or what a link there leads to.
const ITSELF: u32 = 0;
const FOLLOWED: u32 = 1;

const IMPORTS: &str = r#"
(import "wasi:filesystem/preopens@0.2.12" "get-directories" (func $directories (param i32)))
(import "wasi:filesystem/types@0.2.12" "[method]descriptor.open-at"
  (func $open_at (param i32 i32 i32 i32 i32 i32 i32)))
(import "wasi:filesystem/types@0.2.12" "[method]descriptor.read" (func $read (param i32 i64 i64 i32)))
(import "wasi:filesystem/types@0.2.12" "[method]descriptor.read-directory" (func $list (param i32 i32)))
(import "wasi:filesystem/types@0.2.12" "[method]directory-entry-stream.read-directory-entry"
  (func $entry (param i32 i32)))
(import "wasi:filesystem/types@0.2.12" "[resource-drop]directory-entry-stream" (func $drop_list (param i32)))
(import "wasi:filesystem/types@0.2.12" "[resource-drop]descriptor" (func $drop_descriptor (param i32)))
(import "wasi:filesystem/types@0.2.12" "[method]descriptor.write" (func $write_at (param i32 i32 i32 i64 i32)))
(import "wasi:filesystem/types@0.2.12" "[method]descriptor.set-size" (func $set_size (param i32 i64 i32)))
(import "wasi:filesystem/types@0.2.12" "[method]descriptor.create-directory-at"
  (func $make_directory (param i32 i32 i32 i32)))
(import "wasi:filesystem/types@0.2.12" "[method]descriptor.unlink-file-at"
  (func $remove_file (param i32 i32 i32 i32)))
(import "wasi:filesystem/types@0.2.12" "[method]descriptor.remove-directory-at"
  (func $remove_directory (param i32 i32 i32 i32)))
(import "wasi:filesystem/types@0.2.12" "[method]descriptor.rename-at"
  (func $rename (param i32 i32 i32 i32 i32 i32 i32)))
(import "wasi:filesystem/types@0.2.12" "[method]descriptor.symlink-at"
  (func $make_symlink (param i32 i32 i32 i32 i32 i32)))
(import "wasi:filesystem/types@0.2.12" "[method]descriptor.link-at"
  (func $make_link (param i32 i32 i32 i32 i32 i32 i32 i32)))
"#;

/// Answers of host calls lie at 320: 0 and the answer at 324, or 1 and a code at 324. `file` lies at 400.
const HELPERS: &str = r#"
(data (i32.const 400) "file")
(global $first (mut i32) (i32.const -1))
(global $second (mut i32) (i32.const -1))
;; Looks once where the granted directories are.
(func $look (param $count i32)
  (if (i32.eq (global.get $first) (i32.const -1))
    (then
      (call $directories (i32.const 320))
      (if (i32.ne (i32.load (i32.const 324)) (local.get $count)) (then unreachable))
      (global.set $first (i32.load (i32.load (i32.const 320))))
      (if (i32.gt_u (local.get $count) (i32.const 1))
        (then (global.set $second (i32.load offset=12 (i32.load (i32.const 320)))))))))
;; Traps unless the last host call was refused; with this code, if one is given.
(func $refused (param $code i32)
  (if (i32.ne (i32.load8_u (i32.const 320)) (i32.const 1)) (then unreachable))
  (if (i32.ne (local.get $code) (i32.const -1))
    (then (if (i32.ne (i32.load8_u (i32.const 324)) (local.get $code)) (then unreachable)))))
;; Opens a path to read it.
(func $opens (param $directory i32) (param $follow i32) (param $at i32) (param $size i32)
  (call $open_at (local.get $directory) (local.get $follow) (local.get $at) (local.get $size)
    (i32.const 0) (i32.const 1) (i32.const 320)))
;; Traps unless `file` can be read and begins with the letter `f`.
(func $reads_file (local $file i32)
  (call $opens (global.get $first) (i32.const 0) (i32.const 400) (i32.const 4))
  (if (i32.load8_u (i32.const 320)) (then unreachable))
  (local.set $file (i32.load (i32.const 324)))
  (call $read (local.get $file) (i64.const 1) (i64.const 0) (i32.const 320))
  (if (i32.load8_u (i32.const 320)) (then unreachable))
  (if (i32.ne (i32.load8_u (i32.load (i32.const 324))) (i32.const 0x66)) (then unreachable))
  (call $drop_descriptor (local.get $file)))
"#;

/// A guest that finds `count` granted directories, and the file that it may read.
fn guest(count: u32) -> Guest {
    Guest::new()
        .pages(8)
        .world("import wasi:filesystem/types@0.2.12; import wasi:filesystem/preopens@0.2.12;")
        .imports(IMPORTS)
        .fields(HELPERS)
        .process(format!("(call $look (i32.const {count})) (call $reads_file)"))
}

/// Adds openings of paths in the directory `of`, each of which must be refused; with a code where one is given.
fn opens(mut guest: Guest, of: &str, at: usize, paths: &[(&str, u32, Option<u32>)]) -> Guest {
    let mut at = at;
    for (path, follow, code) in paths {
        let (size, code) = (path.len(), code.map_or(-1, |code| code as i32));
        guest = guest.fields(format!("(data (i32.const {at}) {path:?})")).process(format!(
            "(call $opens (global.get {of}) (i32.const {follow}) (i32.const {at}) (i32.const {size}))
             (call $refused (i32.const {code}))"
        ));
        at += size;
    }
    guest
}

/// A directory with a file in it, and a secret beside it.
fn directory(place: &Path) -> io::Result<()> {
    fs::create_dir_all(place.join("granted/sub"))?;
    fs::write(place.join("granted/file"), "for everybody")?;
    fs::write(place.join("secret"), "for nobody")
}

fn job(operator: &str) -> Job {
    Job { operator: operator.to_owned(), ..Job::default() }
}

pub(super) fn attacks() -> Vec<Attack> {
    let mut attacks = ways_out();
    attacks.extend(changes());
    attacks.extend(too_much());
    attacks
}

fn links(place: &Path) -> io::Result<()> {
    directory(place)?;
    let granted = place.join("granted");
    symlink("../secret", granted.join("relative"))?;
    symlink(place.join("secret"), granted.join("absolute"))?;
    symlink("..", granted.join("up"))?;
    symlink("/etc", granted.join("etc"))?;
    symlink("sub/second", granted.join("chain"))?;
    symlink("../../secret", granted.join("sub/second"))?;
    symlink("file", granted.join("inside"))
}

fn devices(place: &Path) -> io::Result<()> {
    directory(place)?;
    let fifo = place.join("granted/fifo");
    mknodat(CWD, fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
    UnixListener::bind(place.join("granted/socket")).map(drop)
}

fn ways_out() -> Vec<Attack> {
    vec![
        Attack {
            rows: &[40],
            name: "granted-path-escape",
            tries: "opens what lies outside of a granted directory, by `..`, absolute paths, and symbolic links that lead out",
            stopped_by: "each path is resolved inside of the directory (cap-std), link by link",
            end: End::Finishes,
            job: job(GRANTS),
            quotas: ALLOWED,
            files: Some(links),
            component: || {
                let out = Some(NOT_PERMITTED);
                let paths = [
                    ("../secret", FOLLOWED, out),
                    ("../secret", ITSELF, out),
                    ("sub/../../secret", FOLLOWED, out),
                    ("sub/../../granted/file", FOLLOWED, out),
                    ("..", ITSELF, out),
                    ("/", ITSELF, out),
                    ("/etc/passwd", FOLLOWED, out),
                    ("//etc/passwd", FOLLOWED, out),
                    ("relative", FOLLOWED, out),
                    ("relative", ITSELF, None),
                    ("absolute", FOLLOWED, out),
                    ("absolute", ITSELF, None),
                    ("up/secret", ITSELF, out),
                    ("up/", ITSELF, out),
                    ("etc/passwd", FOLLOWED, out),
                    ("chain", FOLLOWED, out),
                    ("sub/second", FOLLOWED, out),
                ];
                // A link that stays inside may be followed, so that links do lead somewhere.
                opens(guest(1), "$first", 512, &paths)
                    .fields(r#"(data (i32.const 410) "inside")"#)
                    .process(
                        "(call $opens (global.get $first) (i32.const 1) (i32.const 410) (i32.const 6))
                         (if (i32.load8_u (i32.const 320)) (then unreachable))
                         (call $drop_descriptor (i32.load (i32.const 324)))",
                    )
                    .build()
            },
            ..Attack::default()
        },
        Attack {
            rows: &[41],
            name: "granted-devices",
            tries: "opens a FIFO, a socket and devices in granted directories, to wait for ever or to do something by opening",
            stopped_by: "only regular files and directories are opened, and none without looking first",
            end: End::Finishes,
            job: job("[operators.attack.grants]\n\
                 directories = [{ path = \"granted\" }, { path = \"/dev\", as = \"/devices\" }]\n"),
            quotas: ALLOWED,
            files: Some(devices),
            component: || {
                let no_file = |name| (name, FOLLOWED, Some(NOT_PERMITTED));
                let files = opens(guest(2), "$first", 512, &["fifo", "socket"].map(no_file));
                let devices = ["null", "zero", "full", "random", "tty"].map(no_file);
                let files = opens(files, "$second", 600, &devices);
                // Whether there are these, and where they lead, is the system's to say.
                let others = ["mem", "fd/0", "stdin", "ptmx"].map(|name| (name, FOLLOWED, None));
                opens(files, "$second", 700, &others).build()
            },
            ..Attack::default()
        },
    ]
}

/// A host call that must be refused as on a read-only file system.
fn changes_nothing(call: &str) -> String {
    format!("(call {call} (i32.const 320)) (call $refused (i32.const {READ_ONLY}))")
}

fn changes() -> Vec<Attack> {
    vec![Attack {
        rows: &[73],
        name: "granted-changes",
        tries: "writes, truncates, creates, removes, renames and links in a granted directory",
        stopped_by: "grants are read-only: whatever would change something is refused",
        end: End::Finishes,
        job: job(GRANTS),
        quotas: ALLOWED,
        files: Some(directory),
        component: || {
            const FILE: &str = "(i32.const 400) (i32.const 4)";
            const NEW: &str = "(i32.const 410) (i32.const 3)";
            const SUB: &str = "(i32.const 420) (i32.const 3)";
            let here = "(global.get $first)";
            let open = |path, how, rights| {
                format!(
                    "$open_at {here} (i32.const 0) {path} (i32.const {how}) (i32.const {rights})"
                )
            };
            let calls = [
                // To write; to create; to truncate; to change a directory.
                open(FILE, 0, 2),
                open(NEW, 1, 1),
                open(FILE, 8, 1),
                open(SUB, 2, 32),
                format!("$make_directory {here} {NEW}"),
                format!("$remove_file {here} {FILE}"),
                format!("$remove_directory {here} {SUB}"),
                format!("$rename {here} {FILE} {here} {NEW}"),
                format!("$make_symlink {here} {FILE} {NEW}"),
                format!("$make_link {here} (i32.const 0) {FILE} {here} {NEW}"),
                "$write_at (local.get $i) (i32.const 400) (i32.const 4) (i64.const 0)".to_owned(),
                "$set_size (local.get $i) (i64.const 0)".to_owned(),
            ];
            let calls: String = calls.iter().map(|call| changes_nothing(call)).collect();
            guest(1)
                .fields(r#"(data (i32.const 410) "new") (data (i32.const 420) "sub")"#)
                .process(format!(
                    "(call $opens {here} (i32.const 0) {FILE})
                     (local.set $i (i32.load (i32.const 324)))
                     {calls}
                     (call $drop_descriptor (local.get $i))
                     (call $reads_file)
                     (call $opens {here} (i32.const 0) {NEW}) (call $refused (i32.const -1))"
                ))
                .build()
        },
        ..Attack::default()
    }]
}

/// Many entries in a directory.
fn entries(place: &Path) -> io::Result<()> {
    directory(place)?;
    (0..20_000).try_for_each(|number| {
        File::create(place.join(format!("granted/entry-{number:05}"))).map(drop)
    })
}

/// A file of 1 TiB that takes no room.
fn sparse(place: &Path) -> io::Result<()> {
    directory(place)?;
    File::create(place.join("granted/huge"))?.set_len(1 << 40)
}

fn too_much() -> Vec<Attack> {
    vec![
        Attack {
            rows: &[74],
            name: "granted-listing",
            tries: "lists a directory of 20,000 entries again and again in one call",
            stopped_by: "entries are read one at a time, and reading them is the call's own CPU time",
            code: "CPU_LIMIT",
            job: job(GRANTS),
            quotas: ALLOWED,
            files: Some(entries),
            component: || {
                guest(1)
                    .process(
                        "(loop $again
                           (call $list (global.get $first) (i32.const 320))
                           (if (i32.load8_u (i32.const 320)) (then unreachable))
                           (local.set $i (i32.load (i32.const 324)))
                           (loop $next
                             (call $entry (local.get $i) (i32.const 320))
                             (if (i32.load8_u (i32.const 320)) (then unreachable))
                             (br_if $next (i32.load8_u (i32.const 324))))
                           (call $drop_list (local.get $i))
                           (global.set $heap (i32.const 65536))
                           (br $again))",
                    )
                    .build()
            },
            storm: Some(Job { operator: GRANTS.to_owned(), ..storm(50) }),
            ..Attack::default()
        },
        Attack {
            rows: &[72],
            name: "granted-descriptor-flood",
            tries: "opens a file until it gets no more, dies with all of them open, and does so again in each new sandbox",
            stopped_by: "64 files and directories that a sandbox may have open; they go with it",
            end: End::Finishes,
            job: Job {
                records: Some(60),
                rate: Some(200),
                settings: "on-poison = \"skip\"\npoison-limit = 1000000\nbatch-records = 1\n"
                    .to_owned(),
                ..job(GRANTS)
            },
            quotas: ALLOWED,
            files: Some(directory),
            component: || {
                // Gives up, which fails the job, unless it got 64 and was then told of a quota.
                guest(1)
                    .fields(r#"(data (i32.const 430) "another number of files")"#)
                    .process(format!(
                        "(loop $more
                           (call $opens (global.get $first) (i32.const 0) (i32.const 400) (i32.const 4))
                           (if (i32.eqz (i32.load8_u (i32.const 320)))
                             (then (local.set $i (i32.add (local.get $i) (i32.const 1))) (br $more))))
                         (call $list (global.get $first) (i32.const 340))
                         (if (i32.or
                               (i32.or (i32.ne (local.get $i) (i32.const 64))
                                 (i32.ne (i32.load8_u (i32.const 324)) (i32.const {QUOTA})))
                               (i32.ne (i32.load8_u (i32.const 340)) (i32.const 1)))
                           (then (return (call $fatal (i32.const 430) (i32.const 23)))))
                         unreachable"
                    ))
                    .build()
            },
            check: Some(|seen| match seen.report["operators"][0]["poison"].as_u64() {
                Some(60) => Ok(()),
                died => Err(format!("of 60 records {died:?} killed a sandbox")),
            }),
            ..Attack::default()
        },
        Attack {
            rows: &[78],
            name: "grant-not-allowed",
            tries: "asks for a variable of the host's environment and a directory that its tenant may not have",
            stopped_by: "what the tenants' file does not list is not granted",
            code: "GRANT_REFUSED",
            end: End::Refused,
            job: Job { operator: format!("{GRANTS}environment = [\"PATH\"]\n"), ..Job::default() },
            quotas: "[tenants.mallory.grants]\nenvironment = [\"HOME\"]\n",
            files: Some(directory),
            component: || Guest::new().build(),
            ..Attack::default()
        },
        Attack {
            rows: &[75],
            name: "granted-sparse-file",
            tries: "reads a file of 1 TiB that takes no room in a loop, and far behind its end",
            stopped_by: "1 MiB that one read may answer; reading is the call's own CPU time",
            code: "CPU_LIMIT",
            job: job(GRANTS),
            quotas: ALLOWED,
            files: Some(sparse),
            component: || {
                guest(1)
                    .fields(r#"(data (i32.const 410) "huge")"#)
                    .process(
                        "(call $opens (global.get $first) (i32.const 0) (i32.const 410) (i32.const 4))
                         (if (i32.load8_u (i32.const 320)) (then unreachable))
                         (local.set $i (i32.load (i32.const 324)))
                         (call $read (local.get $i) (i64.const -1) (i64.const -1) (i32.const 320))
                         (call $refused (i32.const -1))
                         (call $read (local.get $i) (i64.const -1) (i64.const 0x20000000000) (i32.const 320))
                         (if (i32.or (i32.load8_u (i32.const 320)) (i32.load (i32.const 328)))
                           (then unreachable))
                         (loop $again
                           (call $read (local.get $i) (i64.const -1) (local.get $x) (i32.const 320))
                           (if (i32.load8_u (i32.const 320)) (then unreachable))
                           (if (i32.gt_u (i32.load (i32.const 328)) (i32.const 1048576))
                             (then unreachable))
                           (local.set $x (i64.and (i64.add (local.get $x) (i64.const 0x3fffffff))
                             (i64.const 0xffffffffff)))
                           (global.set $heap (i32.const 65536))
                           (br $again))",
                    )
                    .build()
            },
            storm: Some(Job { operator: GRANTS.to_owned(), ..storm(50) }),
            ..Attack::default()
        },
    ]
}
