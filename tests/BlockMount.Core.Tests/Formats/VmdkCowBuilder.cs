namespace BlockMount.Core.Tests.Formats;

/// <summary>Lays out a copy-on-write extent of ESX (COWD). Counts are sectors.</summary>
internal static class VmdkCowBuilder
{
    private const int EntriesPerTable = 4096;
    private const int TableSectors = 32;

    /// <param name="capacity">Sectors of the disk.</param>
    /// <param name="grainSectors">Sectors of a grain.</param>
    /// <param name="grains">Grains with content, in the order in which they lie in the file; their tables are made as they are met.</param>
    public static byte[] Build(int capacity, int grainSectors, params (int Grain, byte[] Content)[] grains)
    {
        var directory = new int[(capacity + (grainSectors * EntriesPerTable) - 1) / (grainSectors * EntriesPerTable)];
        var file = new MemoryStream();
        var end = 4 + ((directory.Length + 127) / 128);
        foreach (var (grain, content) in grains)
        {
            ref var table = ref directory[grain / EntriesPerTable];
            if (table == 0)
            {
                (table, end) = (end, end + TableSectors);
            }

            Put(file, (table * 512L) + (4 * (grain % EntriesPerTable)), BitConverter.GetBytes(end));
            Put(file, end * 512L, content);
            end += grainSectors;
        }

        file.SetLength(end * 512L);
        foreach (var (at, value) in new[] { (0, 0x44574F43), (4, 1), (8, 3), (12, capacity), (16, grainSectors), (20, 4), (24, directory.Length), (28, end) })
        {
            Put(file, at, BitConverter.GetBytes(value));
        }

        Put(file, 4 * 512, directory.SelectMany(BitConverter.GetBytes).ToArray());
        return file.ToArray();
    }

    private static void Put(MemoryStream file, long at, byte[] bytes)
    {
        file.Position = at;
        file.Write(bytes);
    }
}
