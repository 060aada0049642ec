using BlockMount.Core.Errors;

namespace BlockMount.Attach.Roads;

/// <summary>A block device did not come up, as opposed to a file system on it that cannot be mounted.</summary>
internal sealed class RoadEndsException(DiskException error) : Exception(error.Message, error)
{
    public DiskException Error { get; } = error;
}
