// A transform in C++: the body in reverse, and the exceptions of a body that says so caught. Definitions break one thing
// each.
#include <algorithm>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "crossdock_plugin.h"

namespace {

CrossdockView view(std::string_view text) {
    return { reinterpret_cast<const uint8_t *>(text.data()), text.size() };
}

std::string_view text(CrossdockView view) {
    return { reinterpret_cast<const char *>(view.ptr), view.len };
}

struct Step {
    std::string mark;
};

int32_t start(CrossdockView, void **state, const CrossdockSink *) {
    *state = nullptr;
    return CROSSDOCK_OK;
}

int32_t make_step(void *, CrossdockView with, void **step, const CrossdockSink *error) {
    if (text(with).find("wrong") != std::string_view::npos) {
        error->put(error->context, view("takes nothing wrong"));
        return CROSSDOCK_REFUSED;
    }
    *step = new Step { std::string(text(with)) };
    return CROSSDOCK_OK;
}

void free_step(void *step) { delete static_cast<Step *>(step); }

std::string reversed(const CrossdockMessages *ask, const CrossdockMessage *message) {
    CrossdockView body {};
    ask->body(message, &body);
    if (text(body) == "throw") throw std::runtime_error("thrown in C++");
    std::string result(text(body));
    std::reverse(result.begin(), result.end());
    return result;
}

int32_t decide(const CrossdockDecisions *to, uint32_t kind, const std::vector<CrossdockOutput> &outputs) {
    const CrossdockDecision decision {
        CROSSDOCK_HEAD(CrossdockDecision), kind, 0, {}, outputs.data(), outputs.size()
    };
    return to->decide(to->context, &decision);
}

int32_t handle(void *object, const CrossdockBatch *batch, const CrossdockDecisions *to,
               const CrossdockSink *error) {
    const auto *step = static_cast<const Step *>(object);
    for (size_t place = 0; place < batch->count; place++) {
#if defined(TOO_FEW)
        if (place == 1) return CROSSDOCK_OK;
#elif defined(STATUS)
        if (place == 1) return 77;
#elif defined(NULL_DECISION)
        if (place == 1) return to->decide(to->context, nullptr), CROSSDOCK_OK;
#endif
        try {
            const std::string body = reversed(batch->ask, batch->messages[place]);
            CrossdockArgument mark { CROSSDOCK_HEAD(CrossdockArgument), view("mark"), {} };
            mark.value = { CROSSDOCK_VALUE_TEXT, 0, view(step->mark) };
            CrossdockOutput output {};
            output.head = CROSSDOCK_HEAD(CrossdockOutput);
            output.flags = CROSSDOCK_HAS_BODY;
            output.body = view(body);
            output.set = &mark;
            output.set_count = 1;
#if defined(NOT_UTF8)
            output.flags |= CROSSDOCK_HAS_ADDRESS;
            output.address = view("queue:\xff");
#elif defined(NO_NUMBER)
            mark.value = { CROSSDOCK_VALUE_INTEGER, 0, view("12x") };
#elif defined(NO_VALUE)
            mark.value = { 99, 0, view("12") };
#elif defined(KIND_UNKNOWN)
            if (place == 1) return decide(to, 99, {}), CROSSDOCK_OK;
#elif defined(TWO)
            if (place == 1) return decide(to, CROSSDOCK_REPLACE, { output, output }), CROSSDOCK_OK;
#elif defined(NOWHERE)
            if (place == 1) {
                const CrossdockDecision nowhere {
                    CROSSDOCK_HEAD(CrossdockDecision), CROSSDOCK_EMIT, 0, {}, nullptr, 3
                };
                return to->decide(to->context, &nowhere), CROSSDOCK_OK;
            }
#endif
            if (decide(to, CROSSDOCK_REPLACE, { output }) != 0) return CROSSDOCK_OK;
        } catch (const std::exception &why) {
            error->put(error->context, view(why.what()));
            return CROSSDOCK_REFUSED;
        }
    }
#if defined(TOO_MANY)
    decide(to, CROSSDOCK_KEEP, {});
#elif defined(LATE_REFUSAL)
    return CROSSDOCK_REFUSED;
#endif
    return CROSSDOCK_OK;
}

#if defined(NO_HANDLE)
const CrossdockTransform transform { CROSSDOCK_HEAD(CrossdockTransform), make_step, nullptr, free_step };
#else
const CrossdockTransform transform { CROSSDOCK_HEAD(CrossdockTransform), make_step, handle, free_step };
#endif

} // namespace

const CrossdockPluginAbi CROSSDOCK_PLUGIN_ABI = {
    { 'X', 'D', 'O', 'C', 'K', 'P', 'L', 'G' }, CROSSDOCK_HEAD(CrossdockPluginAbi), CROSSDOCK_KIND_TRANSFORM
};

int32_t crossdock_plugin_entry_v1(const CrossdockHost *, CrossdockPlugin *out) {
    (void)handle;
    out->head = CROSSDOCK_HEAD(CrossdockPlugin);
    out->name = view("reverse");
    out->version = view("2.0.0");
    out->start = start;
#if !defined(NO_TRANSFORM)
    out->transform = &transform;
#endif
    return CROSSDOCK_OK;
}
