/* A plugin in C: an exchange kind that leads to the first binding. Definitions break one thing each, for the tests of
 * what the loader refuses. */
#include <string.h>
#include <unistd.h>

#include "crossdock_plugin.h"

#ifndef KIND
#define KIND "x-first"
#endif
#ifndef KINDS
#define KINDS CROSSDOCK_KIND_EXCHANGE
#endif
#ifndef MAGIC
#define MAGIC CROSSDOCK_ABI_MAGIC
#endif
#ifndef MAJOR
#define MAJOR CROSSDOCK_ABI_MAJOR
#endif
#ifndef MARK_SIZE
#define MARK_SIZE sizeof(CrossdockPluginAbi)
#endif
#ifndef PLUGIN_SIZE
#define PLUGIN_SIZE sizeof(CrossdockPlugin)
#endif
#ifndef KIND_SIZE
#define KIND_SIZE sizeof(CrossdockExchangeKind)
#endif

#ifndef NO_MARK
const CrossdockPluginAbi CROSSDOCK_PLUGIN_ABI = { MAGIC, { MARK_SIZE, MAJOR, CROSSDOCK_ABI_MINOR }, KINDS };
#endif

#ifdef HANG_WHEN_OPENED
__attribute__((constructor)) static void hang(void) {
    for (;;) sleep(3600);
}
#endif

static const CrossdockHost *host;

static CrossdockView view(const char *text) {
    CrossdockView view = { (const uint8_t *)text, strlen(text) };
    return view;
}

static int32_t refuse(const CrossdockSink *error, const char *why) {
    error->put(error->context, view(why));
    return CROSSDOCK_REFUSED;
}

static int32_t start(CrossdockView with, void **state, const CrossdockSink *error) {
    static int nothing;
    if (with.len != 2) return refuse(error, "takes no settings");
    host->log(host->context, CROSSDOCK_LOG_INFO, view("a plugin in C is here"));
    *state = &nothing;
    return CROSSDOCK_OK;
}

static int32_t declare(void *state, const CrossdockExchangeSpec *spec, void **exchange,
                       const CrossdockSink *reads, const CrossdockSink *error) {
    (void)reads;
    if (spec->arguments_count > 0) {
        const CrossdockArgument *last = CROSSDOCK_AT(spec->arguments, spec->arguments_count - 1);
        error->put(error->context, last->name);
        return CROSSDOCK_REFUSED;
    }
    *exchange = state;
    return CROSSDOCK_OK;
}

static void forget(void *object) { (void)object; }

static int32_t check(void *exchange, const CrossdockBinding *binding, const CrossdockSink *error) {
    (void)exchange;
    return binding->key.len > 0 ? CROSSDOCK_OK : refuse(error, "an empty key");
}

/* The table is the place of the least key, and one more, so that it is not null. */
static int32_t compile(void *exchange, const CrossdockBinding *bindings, size_t count, void **table,
                       const CrossdockSink *error) {
    size_t least = 0;
    (void)exchange;
    (void)error;
    for (size_t place = 1; place < count; place++) {
        const CrossdockBinding *one = CROSSDOCK_AT(bindings, place), *best = CROSSDOCK_AT(bindings, least);
        size_t len = one->key.len < best->key.len ? one->key.len : best->key.len;
        if (memcmp(one->key.ptr, best->key.ptr, len) < 0) least = place;
    }
    *table = (void *)(least + 1);
    return CROSSDOCK_OK;
}

static int32_t route(void *table, const CrossdockRouting *routing, const CrossdockChoice *choice,
                     const CrossdockSink *error) {
    (void)routing;
    (void)error;
#ifdef FAIL_ROUTE
    return 77;
#endif
    choice->choose(choice->context, (uint32_t)((size_t)table - 1));
    return CROSSDOCK_OK;
}

/* A newer contract may have more behind what this one knows. */
static const struct {
    CrossdockExchangeKind known;
    void *more[4];
} kind = {
    { { KIND_SIZE, CROSSDOCK_ABI_MAJOR, CROSSDOCK_ABI_MINOR },
      { (const uint8_t *)KIND, sizeof(KIND) - 1 },
      declare,
      forget,
      check,
      compile,
      forget,
#ifdef NO_ROUTE
      0
#else
      route
#endif
    },
    { (void *)1, (void *)1, (void *)1, (void *)1 },
};

#ifndef NO_ENTRY
int32_t crossdock_plugin_entry_v1(const CrossdockHost *given, CrossdockPlugin *out) {
    CrossdockHead head = { PLUGIN_SIZE, MAJOR, CROSSDOCK_ABI_MINOR };
    (void)route;
    host = given;
#ifdef FAIL_ENTRY
    return CROSSDOCK_FAILED;
#endif
    out->head = head;
    out->name = view("first");
    out->version = view("1.2.3");
    out->start = start;
#ifndef NO_KIND
    out->exchange_kind = &kind.known;
#endif
    return CROSSDOCK_OK;
}
#endif
