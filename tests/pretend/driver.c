/* A CUDA driver whose device memory is the host's. It checks what it is given and copies; what computes (tensorrt.py
 * beside it) hands in a function. As on a device, a thread must make the context current before it asks for anything. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef int Result;
typedef uint64_t Address;

#define DEVICE 7
#define CONTEXT ((void *)(uintptr_t)0x1234500000007)
#define STREAM ((void *)(uintptr_t)0xabcdef0123456)
#define GRAPHS 8
#define GRAPH(n) ((void *)(uintptr_t)(0x7700 + (n)))
#define READY(n) ((void *)(uintptr_t)(0x7788990000 + (n)))

typedef struct { void *to; const void *from; size_t bytes; void (*kernel)(void); } Work;
typedef struct { int works; Work work[8]; } Graph;
static Graph graphs[GRAPHS], *recording; /* graphs are handed out in turns */
static int made;
static __thread int bound;

Result cuInit(unsigned flags) { return getenv("PRETEND_NO_DEVICE") ? 100 : (Result)flags; }
Result cuDriverGetVersion(int *version) { *version = 13000; return 0; }
Result cuDeviceGetCount(int *count) { *count = 1; return 0; }
Result cuDeviceGet(int *device, int number) { *device = DEVICE + number; return 0; }
Result cuDeviceGetName(char *name, int size, int device) {
    strncpy(name, device == DEVICE ? "Pretend" : "wrong", size);
    return 0;
}
Result cuDeviceGetAttribute(int *value, int attribute, int device) {
    *value = device != DEVICE ? -1 : attribute == 75 ? 8 : attribute == 76 ? 7 : attribute == 18 ? 1 : -1;
    return 0;
}
Result cuDevicePrimaryCtxRetain(void **context, int device) { *context = CONTEXT; return device != DEVICE; }
Result cuCtxSetCurrent(void *context) { bound = context == CONTEXT; return !bound; }
Result cuMemGetInfo_v2(size_t *free, size_t *total) { *free = 3ul << 32; *total = 1ul << 35; return 0; }
Result cuGetErrorName(Result error, const char **name) {
    *name = error == 100   ? "CUDA_ERROR_NO_DEVICE"
            : error == 2   ? "CUDA_ERROR_OUT_OF_MEMORY"
            : error == 201 ? "CUDA_ERROR_INVALID_CONTEXT"
                           : "CUDA_ERROR_OTHER";
    return 0;
}
Result cuStreamCreate(void **stream, unsigned flags) { *stream = STREAM; return flags != 1; }
Result cuStreamSynchronize(void *stream) { return !bound ? 201 : stream != STREAM; }
Result cuStreamDestroy_v2(void *stream) { return !bound ? 201 : stream != STREAM; }
Result cuMemAlloc_v2(Address *address, size_t bytes) {
    if (!bound) return 201;
    if (bytes > 1ul << 40) return 2;
    *address = (Address)malloc(bytes);
    return 0;
}
Result cuMemFree_v2(Address address) { free((void *)address); return bound ? 0 : 201; }
Result cuMemHostAlloc(void **memory, size_t bytes, unsigned flags) {
    *memory = malloc(bytes);
    return !bound ? 201 : flags != 0;
}
Result cuMemFreeHost(void *memory) { free(memory); return bound ? 0 : 201; }
static Result copy(void *to, const void *from, size_t bytes, void *stream) {
    if (!bound) return 201;
    if (stream != STREAM) return 400;
    if (recording) recording->work[recording->works++] = (Work){to, from, bytes, NULL};
    else memcpy(to, from, bytes);
    return 0;
}
/* No part of CUDA: what a runtime wants to be done in order with the stream's copies. */
Result pretendKernel(void (*kernel)(void), void *stream) {
    if (!bound) return 201;
    if (stream != STREAM) return 400;
    if (recording) recording->work[recording->works++] = (Work){NULL, NULL, 0, kernel};
    else kernel();
    return 0;
}
Result cuMemcpyHtoDAsync_v2(Address to, const void *from, size_t bytes, void *stream) {
    return copy((void *)to, from, bytes, stream);
}
Result cuMemcpyDtoHAsync_v2(void *to, Address from, size_t bytes, void *stream) {
    return copy(to, (void *)from, bytes, stream);
}
Result cuStreamBeginCapture_v2(void *stream, int mode) {
    recording = &graphs[made % GRAPHS];
    recording->works = 0;
    return stream != STREAM || mode != 1;
}
Result cuStreamEndCapture(void *stream, void **graph) {
    recording = NULL;
    *graph = GRAPH(made++ % GRAPHS);
    return stream != STREAM;
}
Result cuGraphInstantiateWithFlags(void **ready, void *graph, unsigned long long flags) {
    *ready = READY((uintptr_t)graph - 0x7700);
    return flags != 0;
}
Result cuGraphLaunch(void *ready, void *stream) {
    if (!bound) return 201;
    Graph *graph = &graphs[((uintptr_t)ready - 0x7788990000) % GRAPHS];
    if (ready != READY(graph - graphs) || stream != STREAM) return 1;
    for (Work *work = graph->work; work < graph->work + graph->works; work++) {
        if (work->kernel) work->kernel();
        else memcpy(work->to, work->from, work->bytes);
    }
    return 0;
}
Result cuGraphExecDestroy(void *ready) { return (uintptr_t)ready - 0x7788990000 >= GRAPHS; }
Result cuGraphDestroy(void *graph) { return (uintptr_t)graph - 0x7700 >= GRAPHS; }
