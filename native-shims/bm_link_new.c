#include "bm_shim.h"

#include <unistd.h>

/* Gives a file a second name, unless that name exists: -EEXIST then. A symbolic link is not followed. */
int32_t bm_link_new(const char *from, const char *to)
{
    return link(from, to) == -1 ? -errno : 0;
}
