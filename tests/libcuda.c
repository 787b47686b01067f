/* A driver without a card: what nst and MXNet's CUDA build ask libcuda.so.1 for, answered from
   the environment. FAKE_CARDS lists cards as "8.6,9.0", their compute capabilities. */

#include <stdlib.h>
#include <string.h>

static int number(const char *name, int otherwise)
{
    const char *value = getenv(name);
    return value ? atoi(value) : otherwise;
}

static const char *card(int index)
{
    const char *list = getenv("FAKE_CARDS");
    while (list && *list && index-- > 0) {
        list = strchr(list, ',');
        list = list ? list + 1 : NULL;
    }
    return list && *list ? list : NULL;
}

int cuInit(unsigned flags) { return number("FAKE_INIT", 0); }

int cuDriverGetVersion(int *version)
{
    *version = number("FAKE_CUDA", 12020);
    return 0;
}

int cuDeviceGetCount(int *count)
{
    for (*count = 0; card(*count); ++*count) {
    }
    return 0;
}

int cuDeviceGet(int *device, int index)
{
    *device = index;
    return card(index) ? 0 : 101;
}

int cuDeviceGetName(char *name, int size, int device)
{
    strncpy(name, "Fake Card", size);
    return 0;
}

int cuDeviceTotalMem_v2(size_t *bytes, int device)
{
    *bytes = (size_t)24 << 30;
    return 0;
}

int cuDeviceGetAttribute(int *value, int attribute, int device)
{
    const char *capability = card(device);
    *value = atoi(attribute == 75 ? capability : strchr(capability, '.') + 1);
    return 0;
}

int cuGetErrorName(int code, const char **name)
{
    *name = code == 100 ? "CUDA_ERROR_NO_DEVICE" : code == 803 ? "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH" : NULL;
    return *name ? 0 : 1;
}

int cuGetErrorString(int code, const char **text)
{
    *text = "fake";
    return 0;
}

/* MXNet's library names these; nothing here calls them. */
#define ABSENT(name) \
    int name(void) { return 801; }
ABSENT(cuDevicePrimaryCtxRetain)
ABSENT(cuGraphKernelNodeGetParams)
ABSENT(cuGraphNodeGetType)
ABSENT(cuLaunchKernel)
ABSENT(cuModuleGetFunction)
ABSENT(cuModuleLoadData)
ABSENT(cuModuleLoadDataEx)
ABSENT(cuModuleUnload)

/* CUDA's runtime asks for all that it needs by this one, and is told that there is no card. */
static int no_device(void) { return 100; }

int cuGetProcAddress(const char *name, void **function, int version, unsigned long long flags)
{
    *function = strcmp(name, "cuDriverGetVersion") ? (void *)no_device : (void *)cuDriverGetVersion;
    return 0;
}
