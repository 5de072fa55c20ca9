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
#define CROSSDOCK_ABI_MINOR 0u

/* What a library has, as bits of CrossdockPluginAbi.kinds. */
#define CROSSDOCK_KIND_EXCHANGE 1u

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
} CrossdockPlugin;

/* `host` and what `out` points to are valid for ever. `out->head` is the host's when it is called, and the plugin's
 * afterwards: no more than the smaller struct_size may be written. */
typedef int32_t (*CrossdockPluginEntry)(const CrossdockHost *host, CrossdockPlugin *out);

#ifdef __cplusplus
}
#endif

#endif
