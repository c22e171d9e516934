//! The appearance of the command line.

use super::*;

#[test]
fn the_command_line_is_consistent() {
    Arguments::command().debug_assert();
}

#[test]
fn help_says_what_every_command_is_for() {
    let mut command = Arguments::command();
    insta::assert_snapshot!(command.render_help().to_string());
}

#[test]
fn help_of_vault_put_names_every_option() {
    let mut command = Arguments::command();
    command.build();
    let vault = command.find_subcommand_mut("vault").unwrap();
    let put = vault.find_subcommand_mut("put").unwrap();
    insta::assert_snapshot!(put.render_long_help().to_string());
}

#[test]
fn help_of_vault_import_names_every_option() {
    let mut command = Arguments::command();
    command.build();
    let vault = command.find_subcommand_mut("vault").unwrap();
    let import = vault.find_subcommand_mut("import").unwrap();
    insta::assert_snapshot!(import.render_long_help().to_string());
}

#[test]
fn help_of_run_and_session_create_names_every_option() {
    let mut command = Arguments::command();
    command.build();
    let run = command.find_subcommand_mut("run").unwrap().render_long_help().to_string();
    let session = command.find_subcommand_mut("session").unwrap();
    let create = session.find_subcommand_mut("create").unwrap().render_long_help().to_string();
    insta::assert_snapshot!(format!("{run}\n----\n{create}"));
}
