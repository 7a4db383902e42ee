//! Writes the documents that are made from the program's own tables, or compares them with what there is.

use std::path::Path;
use std::process::ExitCode;
use std::{env, fs};

use clap_complete::Shell;
use opentracker::{cli, config};

mod man;

/// Returns each document: its path from the project's root, and its text.
fn documents() -> [(&'static str, String); 3] {
    [
        ("opentracker.conf.sample", config::sample()),
        ("ci/package/man/opentracker.8", man::program()),
        ("ci/package/man/opentracker.conf.5", man::configuration()),
    ]
}

/// Writes what completes the command line in shells, under the names that these look for. It is a library's text and
/// says nothing that the command line does not, so it is no document: packages have it written.
fn write_completions(folder: &str) -> Result<(), String> {
    fs::create_dir_all(folder).map_err(|error| error.to_string())?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut cli::command(), "opentracker", folder)
            .map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let act_on = match arguments.as_slice() {
        [] => write,
        [argument] if argument == "--check" => check,
        [argument, folder] if argument == "--completions" => {
            return match write_completions(folder) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    eprintln!("{folder}: {error}");
                    ExitCode::FAILURE
                }
            };
        }
        _ => {
            eprintln!("unknown arguments {arguments:?}: see ci/documents/run --help");
            return ExitCode::from(2);
        }
    };
    let mut code = ExitCode::SUCCESS;
    for (path, text) in documents() {
        if let Err(error) = act_on(path, &text) {
            eprintln!("{path}: {error}");
            code = ExitCode::FAILURE;
        }
    }
    code
}

fn write(path: &str, text: &str) -> Result<(), String> {
    let folder = Path::new(path).parent().map_or(Ok(()), fs::create_dir_all);
    folder.and_then(|()| fs::write(path, text)).map_err(|error| error.to_string())
}

fn check(path: &str, text: &str) -> Result<(), String> {
    match fs::read_to_string(path) {
        Ok(found) if found == text => Ok(()),
        Ok(_) => Err("is not what the program's tables say: run ci/documents/run".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
