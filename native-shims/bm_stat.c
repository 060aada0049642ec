#include "bm_stat_fill.h"

int32_t bm_stat(const char *path, int32_t follow, struct bm_file_facts *facts)
{
    struct stat found;
    int result;
    BM_RETRY(result, follow ? stat(path, &found) : lstat(path, &found));
    if (result == -1) {
        return -errno;
    }

    bm_stat_fill(&found, facts);
    return 0;
}
