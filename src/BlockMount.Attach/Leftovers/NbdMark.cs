using BlockMount.Attach.Kernel;

namespace BlockMount.Attach.Leftovers;

/// <summary>
/// Tells an attached nbd device from one that is attached to the same number later, even if it shows the same image: its node, a blank, and the number of the thread that
/// attached it, which the kernel remembers.
/// </summary>
internal static class NbdMark
{
    public static string Of(NbdNode node) => $"{node.Path} {node.Attacher}";

    /// <summary>The device, if it is there and is still the same; null otherwise.</summary>
    /// <param name="mark">As <see cref="Of"/> gave it.</param>
    /// <param name="backend">What it says that it shows.</param>
    public static NbdNode? Find(string? mark, string backend) =>
        mark?.Split(' ') is [var path, var _] && NbdNode.Parse(path) is { IsAttached: true } node
            && string.Equals(node.Backend, backend, StringComparison.Ordinal) && string.Equals(Of(node), mark, StringComparison.Ordinal)
            ? node : null;
}
