namespace BlockMount.Attach.Loop;

/// <summary>How a file system is to be mounted.</summary>
/// <param name="IsReadOnly">
/// Without replaying a journal, so that a file system that was not unmounted cleanly mounts on a read-only device as it is.
/// </param>
public sealed record MountOptions(bool IsReadOnly)
{
    /// <summary>Owner of the files where the file system keeps none; null: this user.</summary>
    public MountOwner? Owner { get; init; }

    /// <summary>What the user wants on top, as <c>mount -o</c> takes it, one option each.</summary>
    public IReadOnlyList<string> Own { get; init; } = [];
}
