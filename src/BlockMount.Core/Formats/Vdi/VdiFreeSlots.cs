using static BlockMount.Core.Formats.Vdi.VdiConstants;

namespace BlockMount.Core.Formats.Vdi;

/// <summary>The places of a file that no entry of a table names, lowest first.</summary>
internal sealed class VdiFreeSlots
{
    private readonly uint[] _used;
    private uint _next;
    private int _at;

    /// <param name="entries">The table.</param>
    /// <param name="lowest">Where to begin.</param>
    public VdiFreeSlots(uint[] entries, uint lowest)
    {
        _used = [.. entries.Where(e => e < EntryZero && e >= lowest)];
        Array.Sort(_used);
        _next = lowest;
    }

    public uint Take()
    {
        while (_at < _used.Length && _used[_at] == _next)
        {
            _at++;
            _next++;
        }

        return _next++;
    }
}
