/* Prints the size of every struct of the contract, and where each of its fields is, as the C compiler has them. */
#include <stdio.h>

#include "crossdock_plugin.h"

#define SIZE(type) printf(#type " %zu\n", sizeof(Crossdock##type))
#define FIELD(type, field) printf(#type "." #field " %zu\n", offsetof(Crossdock##type, field))

int main(void) {
    SIZE(Head);
    SIZE(View);
    SIZE(Sink);
    SIZE(Value);
    FIELD(Value, text);
    SIZE(PluginAbi);
    FIELD(PluginAbi, head);
    FIELD(PluginAbi, kinds);
    SIZE(Host);
    FIELD(Host, log);
    SIZE(Argument);
    FIELD(Argument, value);
    SIZE(ExchangeSpec);
    FIELD(ExchangeSpec, arguments_count);
    SIZE(Binding);
    FIELD(Binding, key);
    FIELD(Binding, arguments_count);
    SIZE(Routing);
    FIELD(Routing, values);
    SIZE(Choice);
    SIZE(ExchangeKind);
    FIELD(ExchangeKind, check);
    FIELD(ExchangeKind, route);
    SIZE(Happened);
    FIELD(Happened, token);
    FIELD(Happened, bytes);
    SIZE(Wish);
    FIELD(Wish, token);
    FIELD(Wish, bytes);
    SIZE(Wishes);
    SIZE(Protocol);
    FIELD(Protocol, close);
    SIZE(Views);
    FIELD(Views, count);
    SIZE(Login);
    FIELD(Login, flags);
    FIELD(Login, secret);
    FIELD(Login, common_names);
    FIELD(Login, alternative_names);
    FIELD(Login, virtual_host);
    SIZE(Rights);
    FIELD(Rights, configure);
    FIELD(Rights, read);
    SIZE(Answer);
    FIELD(Answer, user);
    FIELD(Answer, expires_ms);
    FIELD(Answer, rights_count);
    SIZE(Answers);
    SIZE(Authenticator);
    FIELD(Authenticator, login);
    SIZE(Messages);
    FIELD(Messages, header);
    FIELD(Messages, origin);
    SIZE(Batch);
    FIELD(Batch, count);
    SIZE(Output);
    FIELD(Output, address);
    FIELD(Output, set);
    SIZE(Decision);
    FIELD(Decision, after_ms);
    FIELD(Decision, outputs_count);
    SIZE(Decisions);
    SIZE(Transform);
    FIELD(Transform, handle);
    SIZE(Plugin);
    FIELD(Plugin, start);
    FIELD(Plugin, exchange_kind);
    FIELD(Plugin, protocol);
    FIELD(Plugin, authenticator);
    FIELD(Plugin, transform);
    return 0;
}
