//! `crossdock completions` and `crossdock man`: what the command line says about itself, for shells and for man.

use crate::CommandLine;
use crate::output::{self, complain};
use clap::CommandFactory;
use clap_complete::Shell;
use std::path::Path;
use std::process::ExitCode;

/// Exit code: the folder cannot be written.
const EXIT_UNWRITTEN: u8 = 2;

/// Prints what completes the words of `crossdock` in a shell.
pub fn completions(shell: Shell) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut CommandLine::command(), "crossdock", &mut script);
    output::put(&String::from_utf8_lossy(&script));
    ExitCode::SUCCESS
}

/// Prints the page crossdock(1), or writes it and the pages of all commands into a folder.
pub fn man(folder: Option<&Path>) -> ExitCode {
    let command = CommandLine::command().disable_help_subcommand(true);
    let Some(folder) = folder else {
        let mut page = Vec::new();
        if let Err(error) = clap_mangen::Man::new(command).render(&mut page) {
            output::fail(error);
        }
        output::put(&String::from_utf8_lossy(&page));
        return ExitCode::SUCCESS;
    };
    let written =
        std::fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(command, folder));
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain!("{}: cannot write: {error}", folder.display());
            ExitCode::from(EXIT_UNWRITTEN)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound_and_says_what_its_exit_codes_mean() {
        CommandLine::command().debug_assert();
        let mut command = CommandLine::command();
        let ctl = command.find_subcommand_mut("ctl").expect("it is there");
        let help = ctl.render_long_help().to_string();
        for word in ["list", "publish", "--data-dir", "Exit status", "69"] {
            assert!(help.contains(word), "{word}: {help}");
        }
        let mut page = Vec::new();
        clap_mangen::Man::new(ctl.clone()).render(&mut page).expect("a page");
        assert!(String::from_utf8_lossy(&page).contains("Exit status"));
    }
}
