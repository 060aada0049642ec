using BlockMount.Core.Errors;
using BlockMount.Platform.Kernel;

namespace BlockMount.Attach.Kernel;

/// <summary>Makes the kernel show the partitions that this program reads in a table, whatever the kernel reads there.</summary>
internal static class PartitionNodes
{
    /// <param name="device">The disk's node.</param>
    /// <param name="wanted">The partitions.</param>
    /// <returns>Those that the kernel shows then, and a sentence for each that it does not take or let go of.</returns>
    public static (IReadOnlyList<NodePartition> Shown, IReadOnlyList<string> Notes) Settle(string device, IReadOnlyList<NodePartition> wanted)
    {
        var notes = new List<string>();
        var known = KernelPartitions.Of(device).ToDictionary(static p => p.Number, static p => (p.Start, p.Length));
        var others = known.Where(k => !wanted.Any(w => w.Number == k.Key && (w.Start, w.Length) == k.Value)).Select(static k => k.Key);

        // Of an earlier attach, or what the kernel reads in a table that this program reads otherwise.
        foreach (var number in others.Where(n => Try(() => KernelPartitions.Remove(device, n))).ToList())
        {
            known.Remove(number);
        }

        foreach (var partition in wanted.Where(w => !known.ContainsKey(w.Number)))
        {
            if (Try(() => KernelPartitions.Add(device, partition.Number, partition.Start, partition.Length)))
            {
                known.Add(partition.Number, (partition.Start, partition.Length));
            }
        }

        return ([.. wanted.Where(w => known.GetValueOrDefault(w.Number) == (w.Start, w.Length))], notes);

        bool Try(Action step)
        {
            try
            {
                step();
                return true;
            }
            catch (DiskException e)
            {
                notes.Add(e.Message);
                return false;
            }
        }
    }
}
