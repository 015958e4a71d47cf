//! A hostile operator as text: the contract's exports around the code of an attack.
//!
//! Owns the template, which is a core module in the canonical ABI of `tidemill:operator`: memory, a bump
//! allocator that begins anew after each call, every import of the contract as a function, a description in a data
//! segment. An attack fills in the body of an export, or replaces a part. Knows nothing of hosts and jobs: what
//! comes out is the bytes of a file. Whether they are admitted is the host's affair, so nothing here validates.
//!
//! Memory: 0..64 is never written, 64 a result that is ok, 96 one that is an error, 160 the ends of one item,
//! 256..4096 is the attack's, the description lies from 4096 on, the heap from 65536.

use std::fmt::Write as _;
use std::path::Path;

use wit_component::{ComponentEncoder, StringEncoding};
use wit_parser::Resolve;

use crate::description::Description;

/// Where the description lies.
const DESCRIPTION_AT: u32 = 4096;

/// Every import of the contract, by interface and name, with its type in the canonical ABI.
const IMPORTS: [(&str, &str, &str); 13] = [
    ("state", "value-read", "(param i32 i32)"),
    ("state", "value-write", "(param i32 i32 i32 i32 i32 i32 i32 i32 i32)"),
    ("state", "list-append", "(param i32 i32 i32 i32 i32 i32 i32)"),
    ("state", "list-read", "(param i32 i32 i64 i32)"),
    ("state", "map-read", "(param i32 i32 i32 i32 i32 i32 i32 i32)"),
    ("state", "map-write", "(param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)"),
    ("state", "map-scan", "(param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)"),
    ("output", "emit", "(param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)"),
    ("log", "write", "(param i32 i32 i32 i32 i32)"),
    ("metrics", "put", "(param i32 f64)"),
    ("clock", "now", "(result i64)"),
    ("random", "bytes", "(param i32 i32)"),
    ("state", "map-clear", "(param i32 i32)"),
];

/// A hostile operator in the making.
pub struct Guest {
    description: Description,
    /// Pages of the memory at first.
    pages: u32,
    /// Further imports of the module.
    imports: String,
    /// Further fields of the module.
    fields: String,
    describe: String,
    open: String,
    process: String,
    close: String,
    after_process: String,
    realloc: String,
    /// Further packages, and lines of the world.
    packages: Vec<String>,
    world: String,
    encoding: StringEncoding,
}

impl Default for Guest {
    fn default() -> Self {
        Self::new()
    }
}

/// A setter that adds text to a part.
macro_rules! parts {
    ($($(#[$doc:meta])* $name:ident),*) => {
        $($(#[$doc])*
        #[must_use]
        pub fn $name(mut self, code: impl AsRef<str>) -> Self {
            self.$name.push_str(code.as_ref());
            self.$name.push('\n');
            self
        })*
    };
}

impl Guest {
    /// An operator that takes all records and emits nothing.
    pub fn new() -> Self {
        let empty = String::new;
        Self {
            description: Description::default(),
            pages: 4,
            imports: empty(),
            fields: empty(),
            describe: empty(),
            open: empty(),
            process: empty(),
            close: empty(),
            after_process: empty(),
            realloc: empty(),
            packages: Vec::new(),
            world: empty(),
            encoding: StringEncoding::UTF8,
        }
    }

    parts! {
        /// Imports of the module beside those of the contract.
        imports,
        /// Fields of the module: functions, globals, data.
        fields,
        /// Code in front of the answer of `describe`.
        describe,
        /// Code in front of the answer of `open`.
        open,
        /// Code in front of the answer of `process`. Its locals are `$i $n $p $q` (i32), `$x` (i64), `$f` (f64).
        process,
        /// Code in front of the answer of `close`.
        close,
        /// Code that runs when the host has read the answer of `process`.
        after_process,
        /// Code at each allocation that the host asks for.
        realloc,
        /// Lines of the world beside those of a plain operator.
        world
    }

    /// A package that the world needs.
    #[must_use]
    pub fn package(mut self, text: impl Into<String>) -> Self {
        self.packages.push(text.into());
        self
    }

    /// Describes more than one plain input and output.
    #[must_use]
    pub fn described(mut self, describe: impl FnOnce(&mut Description)) -> Self {
        describe(&mut self.description);
        self
    }

    /// Begins with so many pages of memory.
    #[must_use]
    pub fn pages(mut self, pages: u32) -> Self {
        self.pages = pages;
        self
    }

    /// Hands strings over in another encoding.
    #[must_use]
    pub fn encoding(mut self, encoding: StringEncoding) -> Self {
        self.encoding = encoding;
        self
    }

    /// The module with the embedded type of the contract.
    ///
    /// # Panics
    /// When the attack's text is no WebAssembly text: a defect of the attack.
    pub fn build(&self) -> Vec<u8> {
        let text = self.text();
        let mut module = wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let mut resolve = Resolve::default();
        for folder in ["../../wit", "../../host/sandbox/wit"] {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
            resolve.push_path(folder).expect("the contract can be read");
        }
        for (at, package) in self.packages.iter().enumerate() {
            let pushed = resolve.push_str(format!("package-{at}.wit"), package);
            pushed.unwrap_or_else(|error| panic!("{error:#}\n{package}"));
        }
        let world = format!(
            "package hostile:guest;\nworld guest {{\n include tidemill:operator/plain@0.1.0;\n{}}}\n",
            self.world
        );
        let package = resolve.push_str("world.wit", &world);
        let package = package.unwrap_or_else(|error| panic!("{error:#}\n{world}"));
        let world = resolve.select_world(&[package], Some("guest")).expect("it is there");
        wit_component::embed_component_metadata(&mut module, &resolve, world, self.encoding)
            .expect("a type can be embedded");
        module
    }

    /// The same as a component.
    ///
    /// # Panics
    /// As `build`.
    pub fn build_component(&self) -> Vec<u8> {
        let encoder = ComponentEncoder::default().module(&self.build());
        encoder.and_then(|mut encoder| encoder.encode()).expect("the template fits the contract")
    }

    fn text(&self) -> String {
        let mut imports = self.imports.clone();
        for (interface, name, types) in IMPORTS {
            let id = name.replace('-', "_");
            writeln!(
                imports,
                "(import \"tidemill:operator/{interface}@0.1.0\" \"{name}\" (func ${id} {types}))"
            )
            .expect("text grows");
        }
        let description = self.description.lay_out(DESCRIPTION_AT);
        assert!(description.len() < 60_000, "the description would lie in the heap");
        let mut data = String::new();
        description.iter().for_each(|b| write!(data, "\\{b:02x}").expect("text grows"));
        TEMPLATE
            .replace("@imports", &imports)
            .replace("@pages", &self.pages.to_string())
            .replace("@description", &DESCRIPTION_AT.to_string())
            .replace("@data", &data)
            .replace("@fields", &self.fields)
            .replace("@describe", &self.describe)
            .replace("@open", &self.open)
            .replace("@process", &self.process)
            .replace("@close", &self.close)
            .replace("@after", &self.after_process)
            .replace("@realloc", &self.realloc)
    }
}

const TEMPLATE: &str = r#"(module
@imports
(memory (export "memory") @pages)
(data (i32.const @description) "@data")
(global $heap (mut i32) (i32.const 65536))
@fields
(func $alloc (param $align i32) (param $size i32) (result i32) (local $at i32)
  (local.set $at (i32.and
    (i32.add (global.get $heap) (i32.sub (local.get $align) (i32.const 1)))
    (i32.sub (i32.const 0) (local.get $align))))
  (global.set $heap (i32.add (local.get $at) (local.get $size)))
  (if (i32.gt_u (global.get $heap) (i32.mul (memory.size) (i32.const 65536)))
    (then (if (i32.eq (i32.const -1) (memory.grow (i32.sub
          (i32.add (i32.shr_u (global.get $heap) (i32.const 16)) (i32.const 1))
          (memory.size))))
      (then unreachable))))
  (local.get $at))
(func (export "cabi_realloc") (param $old i32) (param $was i32) (param $align i32) (param $size i32)
  (result i32)
  @realloc
  (call $alloc (local.get $align) (local.get $size)))
;; The answer `fatal` with these bytes.
(func $fatal (param $at i32) (param $size i32) (result i32)
  (i32.store (i32.const 96) (i32.const 1))
  (i32.store (i32.const 100) (i32.const 0))
  (i32.store (i32.const 104) (local.get $at))
  (i32.store (i32.const 108) (local.get $size))
  (i32.const 96))
;; Emits one record without key.
(func $emit_one (param $at i32) (param $size i32)
  (i32.store (i32.const 160) (local.get $size))
  (call $emit (i32.const 0)
    (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
    (i32.const 0) (i32.const 0)
    (local.get $at) (local.get $size) (i32.const 160) (i32.const 1)
    (i32.const 0) (i32.const 0)))
;; Logs bytes, without fields.
(func $say (param $at i32) (param $size i32)
  (call $write (i32.const 4) (local.get $at) (local.get $size) (i32.const 0) (i32.const 0)))
(func (export "tidemill:operator/operator@0.1.0#describe") (result i32)
  (local $i i32) (local $n i32)
  @describe
  (i32.const @description))
(func (export "tidemill:operator/operator@0.1.0#open")
  (param i32 i32 i32 i32 i32 i32 i32 i32 i64 i32 i32) (result i32)
  (local $i i32) (local $n i32)
  @open
  (i32.const 64))
(func (export "tidemill:operator/operator@0.1.0#process")
  (param $input i32) (param $keys i32) (param $keys_size i32) (param $key_ends i32) (param $key_count i32)
  (param $key_of i32) (param $key_of_count i32) (param $values i32) (param $values_size i32)
  (param $ends i32) (param $count i32) (param $times i32) (param $time_count i32) (result i32)
  (local $i i32) (local $n i32) (local $p i32) (local $q i32) (local $x i64) (local $f f64)
  @process
  (i32.const 64))
(func (export "cabi_post_tidemill:operator/operator@0.1.0#process") (param i32)
  (global.set $heap (i32.const 65536))
  @after)
(func (export "tidemill:operator/operator@0.1.0#close") (result i32)
  (local $i i32) (local $n i32)
  @close
  (i32.const 64))
)"#;
