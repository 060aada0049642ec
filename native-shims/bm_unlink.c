#include "bm_shim.h"

#include <unistd.h>

int32_t bm_unlink(const char *path)
{
    return unlink(path) == -1 ? -errno : 0;
}
