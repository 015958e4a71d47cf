//! Embedded directories: `include_dir!` sees a changed file, but not a new one.

fn main() {
    for directory in ["templates", "../../guest-sdk", "../../wit", "../../Cargo.toml"] {
        println!("cargo::rerun-if-changed={directory}");
    }
}
