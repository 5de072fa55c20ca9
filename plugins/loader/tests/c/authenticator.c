/* An authenticator in C, which lets everybody in as "cara" with rights in the virtual host "/". Definitions break one
 * thing each, for the tests of what the broker does not believe. */
#include <string.h>

#include "crossdock_plugin.h"

#ifndef ANSWERS
#define ANSWERS 1
#endif
#ifndef KIND
#define KIND CROSSDOCK_USER
#endif
#ifndef USER
#define USER "cara"
#endif
#ifndef VHOST
#define VHOST "/"
#endif
#ifndef STATUS
#define STATUS CROSSDOCK_OK
#endif
#ifndef RIGHTS
#define RIGHTS 2
#endif
#ifndef PATTERNS
#define PATTERNS 1
#endif
#ifndef TABLE_SIZE
#define TABLE_SIZE sizeof(CrossdockAuthenticator)
#endif

const CrossdockPluginAbi CROSSDOCK_PLUGIN_ABI = { CROSSDOCK_ABI_MAGIC,
                                                  CROSSDOCK_HEAD(CrossdockPluginAbi),
                                                  CROSSDOCK_KIND_AUTHENTICATOR };

static CrossdockView view(const char *text) {
    CrossdockView view = { (const uint8_t *)text, strlen(text) };
    return view;
}

static int32_t start(CrossdockView with, void **state, const CrossdockSink *error) {
    static int nothing;
    (void)with;
    (void)error;
    *state = &nothing;
    return CROSSDOCK_OK;
}

/* A newer contract may have more behind what this one knows. */
typedef struct {
    CrossdockRights known;
    void *more[3];
} NewerRights;

static int32_t login(void *state, const CrossdockLogin *login, const CrossdockAnswers *answers,
                     const CrossdockSink *error) {
    CrossdockView patterns[PATTERNS > 0 ? PATTERNS : 1], tag = view("monitoring");
    NewerRights rights[2];
    CrossdockAnswer answer = { CROSSDOCK_HEAD(CrossdockAnswer), KIND, view(USER), 4000000000000u, { &tag, 1 }, 0, 0 };
    (void)state;
    (void)login;
    for (size_t at = 0; at < PATTERNS; at++) patterns[at] = view("queue:q");
    memset(rights, 0xff, sizeof rights);
    for (size_t at = 0; at < 2; at++) {
        CrossdockHead head = { sizeof(NewerRights), CROSSDOCK_ABI_MAJOR, CROSSDOCK_ABI_MINOR };
        CrossdockViews some = { patterns, PATTERNS }, none = { 0, 7 };
        rights[at].known.head = head;
        rights[at].known.virtual_host = view(at == 0 ? "/" : VHOST);
        rights[at].known.configure = none;
        rights[at].known.write = none;
        rights[at].known.read = some;
    }
    answer.rights = &rights[0].known;
    answer.rights_count = RIGHTS;
#ifdef NULL_ANSWER
    answers->answer(answers->context, 0);
#endif
    for (int at = 0; at < ANSWERS; at++) answers->answer(answers->context, &answer);
    error->put(error->context, view("said so"));
    return STATUS;
}

static const CrossdockAuthenticator authenticator = { { TABLE_SIZE, CROSSDOCK_ABI_MAJOR, CROSSDOCK_ABI_MINOR },
#ifdef NO_LOGIN
                                                      0
#else
                                                      login
#endif
};

int32_t crossdock_plugin_entry_v1(const CrossdockHost *host, CrossdockPlugin *out) {
    CrossdockHead head = CROSSDOCK_HEAD(CrossdockPlugin);
    (void)host;
    (void)login;
    (void)authenticator;
    out->head = head;
    out->name = view("cara");
    out->version = view("1.0.0");
    out->start = start;
#ifndef NO_AUTHENTICATOR
    out->authenticator = &authenticator;
#endif
    return CROSSDOCK_OK;
}
