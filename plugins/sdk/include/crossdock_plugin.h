/* The contract between Crossdock and its native plugins, version 1.
 *
 * A plugin is a shared library with two symbols:
 *
 *   const CrossdockPluginAbi CROSSDOCK_PLUGIN_ABI      read before anything of the library is called
 *   int32_t crossdock_plugin_entry_v1(host, out)       fills `out`; called once
 *
 * Rules, for both sides:
 *
 * - Every struct that may grow begins with a CrossdockHead. `struct_size` is the size that whoever filled the struct
 *   knew. It grows only at its end; the reader reads no more than min(struct_size, the size that it knows), and what is
 *   not there counts as zero. An array of such structs is walked by the struct_size of its first element. The views,
 *   values, heads and sinks never change.
 * - A view (`ptr`, `len`) is valid during the call that it was given to, and no longer. It is not terminated by a zero.
 *   Text is UTF-8.
 * - Whoever allocates frees: the host frees nothing of the plugin, and the plugin nothing of the host. What a plugin
 *   returns as text or bytes it puts into a sink, which copies.
 * - A function returns CROSSDOCK_OK, or something else after putting a sentence for people into the sink `error`.
 *   CROSSDOCK_REFUSED is an answer ("this binding makes no sense"). Everything else means that the plugin is broken:
 *   the host calls it never again. The same happens when a call takes longer than its time (`call_time`).
 * - No exception and no panic may leave a function. What kills the process (a null pointer that is followed) kills the
 *   broker: a plugin has all the rights of the broker itself.
 * - Functions are called from any thread, and for different objects at the same time. For one table `route` is called
 *   from several threads at once.
 * - A library is never unloaded.
 */
#ifndef CROSSDOCK_PLUGIN_H
#define CROSSDOCK_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CROSSDOCK_ABI_MAGIC "XDOCKPLG"
#define CROSSDOCK_ABI_MAJOR 1u
#define CROSSDOCK_ABI_MINOR 1u

/* What a library has, as bits of CrossdockPluginAbi.kinds. */
#define CROSSDOCK_KIND_EXCHANGE 1u
#define CROSSDOCK_KIND_PROTOCOL 2u
#define CROSSDOCK_KIND_AUTHENTICATOR 4u
#define CROSSDOCK_KIND_TRANSFORM 8u

#define CROSSDOCK_OK 0
#define CROSSDOCK_REFUSED 1
#define CROSSDOCK_FAILED 2
#define CROSSDOCK_PANICKED (-1)

typedef struct {
    uint32_t struct_size;
    uint32_t abi_major;
    uint32_t abi_minor;
} CrossdockHead;

#define CROSSDOCK_HEAD(type) { sizeof(type), CROSSDOCK_ABI_MAJOR, CROSSDOCK_ABI_MINOR }

/* The element at a place of an array of structs that may have grown. */
#define CROSSDOCK_AT(array, place) \
    ((const void *)((const char *)(array) + (size_t)(place) * (array)->head.struct_size))

typedef struct {
    const uint8_t *ptr;
    size_t len;
} CrossdockView;

/* Takes bytes. Each call is one item. A result other than 0: no more is taken. */
typedef struct {
    void *context;
    int32_t (*put)(void *context, CrossdockView bytes);
} CrossdockSink;

/* What a value was, before it was written as text. */
#define CROSSDOCK_VALUE_NONE 0u    /* it is not there, or has no text */
#define CROSSDOCK_VALUE_BOOL 1u    /* "true" or "false" */
#define CROSSDOCK_VALUE_INTEGER 2u /* decimal */
#define CROSSDOCK_VALUE_NUMBER 3u  /* decimal, with a fraction */
#define CROSSDOCK_VALUE_TEXT 4u
#define CROSSDOCK_VALUE_BYTES 5u

typedef struct {
    uint32_t kind;
    uint32_t reserved;
    CrossdockView text;
} CrossdockValue;

typedef struct {
    char magic[8];
    CrossdockHead head;
    uint32_t kinds;
} CrossdockPluginAbi;

#define CROSSDOCK_LOG_ERROR 1u
#define CROSSDOCK_LOG_WARN 2u
#define CROSSDOCK_LOG_INFO 3u
#define CROSSDOCK_LOG_DEBUG 4u

/* What the host does for a plugin. Valid for ever. */
typedef struct {
    CrossdockHead head;
    void *context;
    /* Writes a line to the broker's log, from any thread. */
    void (*log)(void *context, uint32_t level, CrossdockView text);
} CrossdockHost;

typedef struct {
    CrossdockHead head;
    CrossdockView name;
    CrossdockValue value;
} CrossdockArgument;

/* ---- An exchange kind ------------------------------------------------------------------------------------------- */

typedef struct {
    CrossdockHead head;
    CrossdockView name;
    const CrossdockArgument *arguments;
    size_t arguments_count;
} CrossdockExchangeSpec;

typedef struct {
    CrossdockHead head;
    /* Where it leads: the same text for the same queue, exchange or session as long as that exists, also after a
     * restart. */
    CrossdockView target;
    /* In topic form: words between '/'. */
    CrossdockView key;
    const CrossdockArgument *arguments;
    size_t arguments_count;
} CrossdockBinding;

typedef struct {
    CrossdockHead head;
    /* In topic form. */
    CrossdockView key;
    /* What the exchange reads, in the order in which `declare` put it. */
    const CrossdockValue *values;
    size_t values_count;
} CrossdockRouting;

/* Takes the places of the bindings that are chosen. A place that no binding has is a mistake of the plugin. */
typedef struct {
    void *context;
    void (*choose)(void *context, uint32_t place);
} CrossdockChoice;

typedef struct {
    CrossdockHead head;
    /* As clients declare it. Begins with "x-". */
    CrossdockView name;
    /* An exchange is declared, or there after a start. Into `reads` goes what `route` needs beside the key, each item
     * as "header:NAME" or "property:NAME" (message_id, correlation_id, timestamp, type, app_id, user_id, group_id,
     * subject, content_type); at most 16. Without any, the choice must depend on the key alone: it is remembered. */
    int32_t (*declare)(void *state, const CrossdockExchangeSpec *spec, void **exchange,
                       const CrossdockSink *reads, const CrossdockSink *error);
    /* The exchange is gone; its tables are freed before. */
    void (*forget)(void *exchange);
    /* Somebody wants to bind. */
    int32_t (*check)(void *exchange, const CrossdockBinding *binding, const CrossdockSink *error);
    /* Bindings have changed: makes a table of all that there are. Called when a message comes, not for each change. */
    int32_t (*compile)(void *exchange, const CrossdockBinding *bindings, size_t count, void **table,
                       const CrossdockSink *error);
    void (*free_table)(void *table);
    /* Chooses among the bindings that the table was made of, by their places there. Wants to be quick. */
    int32_t (*route)(void *table, const CrossdockRouting *routing, const CrossdockChoice *choice,
                     const CrossdockSink *error);
} CrossdockExchangeKind;

/* ---- A protocol -------------------------------------------------------------------------------------------------
 *
 * The broker has the socket, the deadlines and the session; the plugin has bytes. What happened on a connection comes in
 * turns, and the plugin says what it wishes. One connection has one turn at a time, on any thread. Nothing but writing
 * and closing may be wished before the client has logged in, and nothing in the turn that wishes the login after that:
 * bytes that came behind it are the plugin's to keep until CROSSDOCK_LOGGED_IN. */

#define CROSSDOCK_BYTES 1u        /* `bytes` came, in pieces of any size */
#define CROSSDOCK_LOGGED_IN 2u    /* `status`, and why not in `bytes` */
#define CROSSDOCK_PUBLISHED 3u    /* the publish with `token`: stored, or why not */
#define CROSSDOCK_SUBSCRIBED 4u   /* the subscription with `token`: it is there, or why not */
#define CROSSDOCK_UNSUBSCRIBED 5u /* the broker ended the subscription with `token`; why is in `bytes` */
#define CROSSDOCK_DELIVERED 6u    /* for the subscription with `token`: a message from `address`, its body in `bytes` */
#define CROSSDOCK_ENDING 7u       /* the broker ends the connection; why is in `bytes`. The last turn: only writes count */

#define CROSSDOCK_REDELIVERED 1u /* in `flags` of a delivery: it was delivered before, perhaps */

typedef struct {
    CrossdockHead head;
    uint32_t kind;
    int32_t status; /* CROSSDOCK_OK, or CROSSDOCK_REFUSED */
    uint32_t flags;
    uint64_t token;
    uint64_t delivery; /* what settles it; 0: nothing has to */
    CrossdockView address;
    CrossdockView bytes;
} CrossdockHappened;

/* Addresses are topic:a/b, queue:NAME and exchange:NAME/KEY; a subscription is of topic:PATTERN, with + and #, or of
 * queue:NAME. */
#define CROSSDOCK_WRITE 1u       /* `bytes` to the peer */
#define CROSSDOCK_LOG_IN 2u      /* `address`: the user; `bytes`: the password; both empty: somebody without a name */
#define CROSSDOCK_PUBLISH 3u     /* `bytes` to `address`, under a `token` of the plugin's choice */
#define CROSSDOCK_SUBSCRIBE 4u   /* to `address`, under a `token` of the plugin's choice */
#define CROSSDOCK_UNSUBSCRIBE 5u /* the subscription with `token` */
#define CROSSDOCK_SETTLE 6u      /* `token`: the delivery; `flags`: how */
#define CROSSDOCK_CLOSE 7u       /* what was written before is sent */

#define CROSSDOCK_DURABLE 1u  /* in `flags` of a publish: stored before it is confirmed, where queues are durable */
#define CROSSDOCK_SETTLES 1u  /* in `flags` of a subscription: deliveries have to be settled */
#define CROSSDOCK_ACCEPTED 0u /* in `flags` of a settlement */
#define CROSSDOCK_RETURNED 1u /* back to its place, with one more attempt */
#define CROSSDOCK_REJECTED 2u

typedef struct {
    CrossdockHead head;
    uint32_t kind;
    uint32_t flags;
    uint64_t token;
    CrossdockView address;
    CrossdockView bytes;
} CrossdockWish;

/* Takes wishes, which are copied, and done in their order when the turn is over. A result other than 0: too much. */
typedef struct {
    void *context;
    int32_t (*wish)(void *context, const CrossdockWish *wish);
} CrossdockWishes;

typedef struct {
    CrossdockHead head;
    /* As listeners name it: lower-case letters, digits and '-'. */
    CrossdockView name;
    int32_t (*open)(void *state, CrossdockView peer, void **connection, const CrossdockSink *error);
    /* CROSSDOCK_REFUSED ends this connection only. */
    int32_t (*turn)(void *connection, const CrossdockHappened *happened, size_t count,
                    const CrossdockWishes *wishes, const CrossdockSink *error);
    /* The connection has ended. */
    void (*close)(void *connection);
} CrossdockProtocol;

/* ---- An authenticator -------------------------------------------------------------------------------------------
 *
 * Decides logins, beside the broker's own users and other authenticators. What a client presents is there during the
 * call only; whoever copies a secret overwrites the copy, and writes it into no log and no error. The broker counts
 * failed tries, and does not ask about a user who has to wait. */

/* One list of texts. */
typedef struct {
    const CrossdockView *ptr;
    size_t count;
} CrossdockViews;

/* What a client presents. */
#define CROSSDOCK_ANONYMOUS 1u   /* nothing */
#define CROSSDOCK_PASSWORD 2u    /* `user`, and the password in `secret`, which may be a token all the same */
#define CROSSDOCK_TOKEN 3u       /* a token in `secret`, and perhaps a `user` */
#define CROSSDOCK_CERTIFICATE 4u /* names of a certificate that the listener has verified, and perhaps a `user` */

#define CROSSDOCK_LOOPBACK 1u /* in `flags` of a login: the client is on the broker's machine */

typedef struct {
    CrossdockHead head;
    uint32_t kind;
    uint32_t flags;
    CrossdockView user; /* what the client calls itself */
    CrossdockView secret;
    CrossdockView subject; /* of the certificate, as RFC 4514 writes it */
    CrossdockViews common_names;
    CrossdockViews alternative_names; /* each as DNS:..., URI:..., email:... or IP:... */
    CrossdockView peer;               /* address and port, for logs */
    CrossdockView client;             /* the client identifier that it gives, or empty */
    CrossdockView virtual_host;       /* where it wants to be; empty: not known yet */
} CrossdockLogin;

/* Patterns as in a [[user]] of the configuration: *, queue:NAME, topic:FILTER, exchange:NAME, exchange:NAME/FILTER. */
typedef struct {
    CrossdockHead head;
    CrossdockView virtual_host;
    CrossdockViews configure;
    CrossdockViews write;
    CrossdockViews read;
} CrossdockRights;

#define CROSSDOCK_NOT_MINE 1u /* somebody else may know: the next one is asked */
#define CROSSDOCK_ACCOUNT 2u  /* `user` of the broker's own, which has to be there, with its rights and tags */
#define CROSSDOCK_USER 3u     /* `user`, with `rights` and `tags` */

typedef struct {
    CrossdockHead head;
    uint32_t kind;
    CrossdockView user;  /* at most 255 bytes, and not "guest" */
    uint64_t expires_ms; /* when the login ends, in milliseconds since 1970; 0: with the connection */
    CrossdockViews tags;
    /* For each virtual host that it may enter. */
    const CrossdockRights *rights;
    size_t rights_count;
} CrossdockAnswer;

/* Takes an answer, which is copied. A result other than 0: it cannot be one. */
typedef struct {
    void *context;
    int32_t (*answer)(void *context, const CrossdockAnswer *answer);
} CrossdockAnswers;

typedef struct {
    CrossdockHead head;
    /* CROSSDOCK_OK: one answer was given, and no second one. CROSSDOCK_REFUSED: nobody is let in, whoever else is there;
     * why goes into `error`, for the log. */
    int32_t (*login)(void *state, const CrossdockLogin *login, const CrossdockAnswers *answers,
                     const CrossdockSink *error);
} CrossdockAuthenticator;

/* ---- A transform ------------------------------------------------------------------------------------------------
 *
 * A step of content routes: { plugin = "NAME", with = { ... } }. It decides on messages and publishes nothing itself. */

/* A message, as a handle: what is not asked for is not copied. */
typedef struct CrossdockMessage CrossdockMessage;

#define CROSSDOCK_ORIGIN_USER 1u     /* who published */
#define CROSSDOCK_ORIGIN_CLIENT 2u   /* the name that its client gave itself */
#define CROSSDOCK_ORIGIN_LISTENER 3u /* the listener that it came by */

/* What the host says of a message, on the thread of the call that it was given to. Views are valid during that call. */
typedef struct {
    CrossdockHead head;
    /* queue:NAME, topic:a/b or exchange:NAME/KEY */
    void (*address)(const CrossdockMessage *message, CrossdockView *address);
    void (*body)(const CrossdockMessage *message, CrossdockView *body);
    /* 0 the first time that its route asks for it, and one more after each failure and each CROSSDOCK_RETRY_AFTER. */
    uint32_t (*attempt)(const CrossdockMessage *message);
    /* The first header of that name; or else the property: content_type, content_encoding, message_id,
     * correlation_id, reply_to, timestamp, user_id, app_id, type, subject, group_id, priority. */
    void (*header)(const CrossdockMessage *message, CrossdockView name, CrossdockValue *value);
    /* The header at a place, from 0, in the sender's order; no properties. Not 0: it is there. */
    int32_t (*header_at)(const CrossdockMessage *message, size_t place, CrossdockView *name, CrossdockValue *value);
    void (*origin)(const CrossdockMessage *message, uint32_t what, CrossdockView *text);
} CrossdockMessages;

/* Messages of one call. */
typedef struct {
    CrossdockHead head;
    /* How to ask them. */
    const CrossdockMessages *ask;
    const CrossdockMessage *const *messages;
    size_t count;
} CrossdockBatch;

#define CROSSDOCK_KEEP 1u        /* not this step's business: as if the route had not taken it */
#define CROSSDOCK_DROP 2u        /* nothing goes on, on purpose; `why` is for the log */
#define CROSSDOCK_REPLACE 3u     /* it goes on as the one output says, where the route sends to */
#define CROSSDOCK_EMIT 4u        /* the outputs go on instead of it; none is allowed */
#define CROSSDOCK_REJECT 5u      /* it goes to the dead letters, with `why` */
#define CROSSDOCK_RETRY_AFTER 6u /* it is to be asked about again after `after_ms` */
#define CROSSDOCK_FAIL 7u        /* it is at fault, and `why`: the route's on_error says what becomes of it */

#define CROSSDOCK_HAS_ADDRESS 1u      /* in `flags` of an output; without it: where the route sends to */
#define CROSSDOCK_HAS_BODY 2u         /* without it: the body stays */
#define CROSSDOCK_HAS_CONTENT_TYPE 4u /* without it: the content type stays */

/* A message that is made of the one that came. Headers and properties are removed first, then set; a value of
 * CROSSDOCK_VALUE_NONE removes. An address that is neither one of the route's nor granted by the step's
 * `destinations` fails the message. */
typedef struct {
    CrossdockHead head;
    uint32_t flags;
    CrossdockView address;
    CrossdockView body;
    CrossdockView content_type;
    const CrossdockView *remove;
    size_t remove_count;
    const CrossdockArgument *set;
    size_t set_count;
} CrossdockOutput;

typedef struct {
    CrossdockHead head;
    uint32_t kind;
    uint64_t after_ms;
    CrossdockView why;
    const CrossdockOutput *outputs;
    size_t outputs_count;
} CrossdockDecision;

/* Takes decisions, which are copied: one for each message, in the order of the messages. A result other than 0: it is
 * not taken, and the call is to return. */
typedef struct {
    void *context;
    int32_t (*decide)(void *context, const CrossdockDecision *decision);
} CrossdockDecisions;

typedef struct {
    CrossdockHead head;
    /* A step of a route names the plugin. `with`: the step's own settings, as JSON. */
    int32_t (*make_step)(void *state, CrossdockView with, void **step, const CrossdockSink *error);
    /* Decides on several messages, one after the other; the time of a call (`call_time`) begins again with each
     * decision. The message without a decision at which it breaks the contract or hangs is the one that failed; those
     * behind it wait. CROSSDOCK_REFUSED: the first message without a decision is at fault; those behind it come again.
     * Called from several threads at once for one step. */
    int32_t (*handle)(void *step, const CrossdockBatch *batch, const CrossdockDecisions *decisions,
                      const CrossdockSink *error);
    void (*free_step)(void *step);
} CrossdockTransform;

/* ---- The plugin ------------------------------------------------------------------------------------------------- */

typedef struct {
    CrossdockHead head;
    CrossdockView name;
    CrossdockView version;
    /* Called once, before everything else. `with`: the table of that name of the configuration, as JSON. `state` is
     * given to the functions that are about no object. */
    int32_t (*start)(CrossdockView with, void **state, const CrossdockSink *error);
    /* Or null. */
    const CrossdockExchangeKind *exchange_kind;
    /* Or null. */
    const CrossdockProtocol *protocol;
    /* Or null. */
    const CrossdockAuthenticator *authenticator;
    /* Or null. */
    const CrossdockTransform *transform;
} CrossdockPlugin;

/* `host` and what `out` points to are valid for ever. `out->head` is the host's when it is called, and the plugin's
 * afterwards: no more than the smaller struct_size may be written. */
typedef int32_t (*CrossdockPluginEntry)(const CrossdockHost *host, CrossdockPlugin *out);

/* The two symbols. Defined under these declarations they are there whatever the language (C++) and the flags
 * (-fvisibility=hidden). */
#if defined(__GNUC__)
#define CROSSDOCK_EXPORT __attribute__((visibility("default")))
#else
#define CROSSDOCK_EXPORT
#endif
extern CROSSDOCK_EXPORT const CrossdockPluginAbi CROSSDOCK_PLUGIN_ABI;
CROSSDOCK_EXPORT int32_t crossdock_plugin_entry_v1(const CrossdockHost *host, CrossdockPlugin *out);

#ifdef __cplusplus
}
#endif

#endif
