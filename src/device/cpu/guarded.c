/* guarded.c: a CPU device whose memory has no access outside kernels: whoever above the seam
 * touches element data dies at once.  Every wrapper opens all blocks, calls, closes. */
#include "device/cpu/cpu.h"
#include "device/wrap.h"

#define GUARD(name, params, args)             \
    static void guarded_##name params {       \
        hold_cpu_protect(hold_cpu(d), true);  \
        hold_cpu(d)->plain.name args;         \
        hold_cpu_protect(hold_cpu(d), false); \
    }
#define GUARD_VALUE(type, name, params, args)      \
    static type guarded_##name params {            \
        hold_cpu_protect(hold_cpu(d), true);       \
        type value = hold_cpu(d)->plain.name args; \
        hold_cpu_protect(hold_cpu(d), false);      \
        return value;                              \
    }
HOLD_KERNEL_LIST(GUARD, GUARD_VALUE)

#define SET(name, params, args) .name = guarded_##name,
#define SET_VALUE(type, name, params, args) .name = guarded_##name,

/* alloc, release, sync and weight_free touch no element. */
void hold_cpu_guard(struct hold_cpu *cpu) {
    cpu->plain = cpu->kernels;
    cpu->kernels = (struct hold_kernels){.alloc = cpu->plain.alloc,
                                         .release = cpu->plain.release,
                                         .sync = cpu->plain.sync,
                                         .weight_free = cpu->plain.weight_free,
                                         HOLD_KERNEL_LIST(SET, SET_VALUE)};
}
