//! The header and the structs of Rust are the same, by the word of the C compiler.

use super::*;
use crossdock_plugin::abi::*;
use std::mem::offset_of;

#[test]
fn the_header_and_rust_have_the_same_structs() {
    let program = room().join("layout");
    let mut cc = Command::new("cc");
    cc.args(["-std=c99", "-Wall", "-Wextra", "-Werror", "-I"]).arg(here().join("../sdk/include"));
    cc.arg("-o").arg(&program).arg(here().join("tests/c/layout.c"));
    run(&mut cc);
    let printed = run(&mut Command::new(&program));
    let rust = [
        ("Head", size_of::<Head>()),
        ("View", size_of::<View>()),
        ("Sink", size_of::<Sink>()),
        ("Value", size_of::<crossdock_plugin::abi::Value>()),
        ("Value.text", offset_of!(crossdock_plugin::abi::Value, text)),
        ("PluginAbi", size_of::<PluginAbi>()),
        ("PluginAbi.head", offset_of!(PluginAbi, head)),
        ("PluginAbi.kinds", offset_of!(PluginAbi, kinds)),
        ("Host", size_of::<Host>()),
        ("Host.log", offset_of!(Host, log)),
        ("Argument", size_of::<Argument>()),
        ("Argument.value", offset_of!(Argument, value)),
        ("ExchangeSpec", size_of::<crossdock_plugin::abi::ExchangeSpec>()),
        (
            "ExchangeSpec.arguments_count",
            offset_of!(crossdock_plugin::abi::ExchangeSpec, arguments_count),
        ),
        ("Binding", size_of::<crossdock_plugin::abi::Binding>()),
        ("Binding.key", offset_of!(crossdock_plugin::abi::Binding, key)),
        ("Binding.arguments_count", offset_of!(crossdock_plugin::abi::Binding, arguments_count)),
        ("Routing", size_of::<Routing>()),
        ("Routing.values", offset_of!(Routing, values)),
        ("Choice", size_of::<Choice>()),
        ("ExchangeKind", size_of::<ExchangeKind>()),
        ("ExchangeKind.check", offset_of!(ExchangeKind, check)),
        ("ExchangeKind.route", offset_of!(ExchangeKind, route)),
        ("Happened", size_of::<Happened>()),
        ("Happened.token", offset_of!(Happened, token)),
        ("Happened.bytes", offset_of!(Happened, bytes)),
        ("Wish", size_of::<Wish>()),
        ("Wish.token", offset_of!(Wish, token)),
        ("Wish.bytes", offset_of!(Wish, bytes)),
        ("Wishes", size_of::<Wishes>()),
        ("Protocol", size_of::<Protocol>()),
        ("Protocol.close", offset_of!(Protocol, close)),
        ("Views", size_of::<Views>()),
        ("Views.count", offset_of!(Views, count)),
        ("Login", size_of::<Login>()),
        ("Login.flags", offset_of!(Login, flags)),
        ("Login.secret", offset_of!(Login, secret)),
        ("Login.common_names", offset_of!(Login, common_names)),
        ("Login.alternative_names", offset_of!(Login, alternative_names)),
        ("Login.virtual_host", offset_of!(Login, virtual_host)),
        ("Rights", size_of::<Rights>()),
        ("Rights.configure", offset_of!(Rights, configure)),
        ("Rights.read", offset_of!(Rights, read)),
        ("Answer", size_of::<Answer>()),
        ("Answer.user", offset_of!(Answer, user)),
        ("Answer.expires_ms", offset_of!(Answer, expires_ms)),
        ("Answer.rights_count", offset_of!(Answer, rights_count)),
        ("Answers", size_of::<Answers>()),
        ("Authenticator", size_of::<Authenticator>()),
        ("Authenticator.login", offset_of!(Authenticator, login)),
        ("Messages", size_of::<Messages>()),
        ("Messages.header", offset_of!(Messages, header)),
        ("Messages.origin", offset_of!(Messages, origin)),
        ("Batch", size_of::<Batch>()),
        ("Batch.count", offset_of!(Batch, count)),
        ("Output", size_of::<Output>()),
        ("Output.address", offset_of!(Output, address)),
        ("Output.set", offset_of!(Output, set)),
        ("Decision", size_of::<Decision>()),
        ("Decision.after_ms", offset_of!(Decision, after_ms)),
        ("Decision.outputs_count", offset_of!(Decision, outputs_count)),
        ("Decisions", size_of::<Decisions>()),
        ("Transform", size_of::<Transform>()),
        ("Transform.handle", offset_of!(Transform, handle)),
        ("Plugin", size_of::<Plugin>()),
        ("Plugin.start", offset_of!(Plugin, start)),
        ("Plugin.exchange_kind", offset_of!(Plugin, exchange_kind)),
        ("Plugin.protocol", offset_of!(Plugin, protocol)),
        ("Plugin.authenticator", offset_of!(Plugin, authenticator)),
        ("Plugin.transform", offset_of!(Plugin, transform)),
    ];
    let rust: String = rust.iter().map(|(name, at)| format!("{name} {at}\n")).collect();
    assert_eq!(printed, rust);
}

#[test]
fn a_cplusplus_compiler_takes_the_header() {
    let mut cc = Command::new("cc");
    cc.args(["-x", "c++", "-Wall", "-Wextra", "-Werror", "-fsyntax-only"]);
    cc.arg(here().join("../sdk/include/crossdock_plugin.h"));
    // Where there is no compiler for C++ the header is for C alone.
    let found = cc.output().expect("a C compiler");
    let errors = String::from_utf8_lossy(&found.stderr);
    assert!(found.status.success() || errors.contains("cc1plus"), "{errors}");
}
