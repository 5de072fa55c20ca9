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
    if shell == Shell::Fish {
        output::put(&fish_values(&CommandLine::command()));
    }
    ExitCode::SUCCESS
}

/// The values of words that have no dash in front of them, which clap leaves out for fish: `ctl list queues`.
fn fish_values(command: &clap::Command) -> String {
    let mut lines = String::new();
    for first in command.get_subcommands() {
        let behind = format!("__fish_crossdock_using_subcommand {}", first.get_name());
        lines.extend(fish_line(first, &behind));
        for second in first.get_subcommands() {
            let behind = format!("{behind}; and __fish_seen_subcommand_from {}", second.get_name());
            lines.extend(fish_line(second, &behind));
        }
    }
    lines
}

fn fish_line(command: &clap::Command, behind: &str) -> Option<String> {
    let values = command.get_positionals().flat_map(clap::Arg::get_possible_values);
    let names: Vec<String> = values.map(|value| value.get_name().to_owned()).collect();
    let line = |names: &str| format!("complete -c crossdock -n \"{behind}\" -f -a \"{names}\"\n");
    (!names.is_empty()).then(|| line(&names.join(" ")))
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
    fn fish_knows_what_there_are_lists_of() {
        let lines = fish_values(&CommandLine::command());
        for (behind, value) in [
            ("ctl; and __fish_seen_subcommand_from list", "queues"),
            ("ctl; and __fish_seen_subcommand_from show", "listener"),
            ("completions", "fish"),
        ] {
            let begin =
                format!("complete -c crossdock -n \"__fish_crossdock_using_subcommand {behind}\"");
            let line = lines.lines().find(|line| line.starts_with(&begin)).expect(&lines);
            assert!(line.contains(value), "{line}");
        }
    }

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
