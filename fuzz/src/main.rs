//! `naulon-fuzz seeds FOLDER` writes the seeds, each in its target's folder below this one.
//! `naulon-fuzz run TARGET FILE…` runs a target on files, as the search does, and ends with its panic.

use std::path::Path;
use std::process::ExitCode;

const USAGE: &str = "naulon-fuzz seeds FOLDER\nnaulon-fuzz run TARGET FILE…";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["seeds", folder] => write_seeds(Path::new(folder)),
        ["run", name, files @ ..] if naulon_fuzz::target(name).is_some() => run(name, files),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("naulon-fuzz: {error}");
            ExitCode::FAILURE
        }
    }
}

fn write_seeds(folder: &Path) -> std::io::Result<()> {
    naulon_fuzz::seeds().into_iter().try_for_each(|(target, name, bytes)| {
        let folder = folder.join(target);
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join(name), bytes)
    })
}

fn run(name: &str, files: &[&str]) -> std::io::Result<()> {
    let target = naulon_fuzz::target(name).unwrap_or(|_| {});
    files.iter().try_for_each(|file| {
        target(&std::fs::read(file)?);
        eprintln!("{file}: quiet");
        Ok(())
    })
}
