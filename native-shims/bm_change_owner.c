#include "bm_shim.h"

#include <unistd.h>

/* 0xffffffff leaves the user or group as it is. Links are not followed. */
int32_t bm_change_owner(const char *path, uint32_t user, uint32_t group)
{
    return lchown(path, (uid_t)user, (gid_t)group) == -1 ? -errno : 0;
}
