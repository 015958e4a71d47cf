//! Writes the samples as the first inputs: `corpus/TARGET/N`.

use std::fs;
use std::path::Path;

fn main() -> std::io::Result<()> {
    for (name, _) in tidemill_fuzz::TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
        fs::create_dir_all(&folder)?;
        for (number, sample) in tidemill_fuzz::samples::of(name).into_iter().enumerate() {
            fs::write(folder.join(number.to_string()), sample)?;
        }
    }
    Ok(())
}
