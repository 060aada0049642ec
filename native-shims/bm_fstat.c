#include "bm_stat_fill.h"

int32_t bm_fstat(int32_t fd, struct bm_file_facts *facts)
{
    struct stat found;
    if (fstat(fd, &found) == -1) {
        return -errno;
    }

    bm_stat_fill(&found, facts);
    return 0;
}
