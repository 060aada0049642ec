using BlockMount.Nbd.Wire;
using static BlockMount.Nbd.NbdConstants;

namespace BlockMount.Nbd.Handshake;

/// <summary>Answers LIST_META_CONTEXT and SET_META_CONTEXT ("Metadata querying") and holds the selection.</summary>
internal sealed class MetaContextAnswers(OptionWriter writer)
{
    private static readonly (NbdMetaContexts Context, string Namespace, string Name)[] s_known =
    [
        (NbdMetaContexts.BaseAllocation, "base:", "base:allocation"),
        (NbdMetaContexts.AllocationDepth, "qemu:", "qemu:allocation-depth"),
    ];

    private string? _exportName;
    private NbdMetaContexts _selected;

    /// <summary>The selection, which holds only for the name it was made with.</summary>
    public NbdMetaContexts SelectedFor(string name) =>
        string.Equals(_exportName, name, StringComparison.Ordinal) ? _selected : NbdMetaContexts.None;

    public void Clear()
    {
        _exportName = null;
        _selected = NbdMetaContexts.None;
    }

    /// <param name="option">Which of the two.</param>
    /// <param name="payload">Whole.</param>
    /// <param name="style">What was negotiated so far; a selection is impossible with simple replies.</param>
    /// <param name="find">Looks an export up.</param>
    /// <param name="unknown">Answers that there is none of that name.</param>
    public void Answer(
        uint option, ReadOnlySpan<byte> payload, NbdReplyStyle style, Func<string, NbdExport?> find, Action<uint, string> unknown)
    {
        var isSet = option == NBD_OPT_SET_META_CONTEXT;
        if (isSet)
        {
            // Even an attempt that fails takes the old selection away.
            Clear();
            if (style == NbdReplyStyle.Simple)
            {
                writer.Error(option, NBD_REP_ERR_INVALID, "Contexts need structured replies or extended headers first.");
                return;
            }
        }

        if (!TryParse(payload, isSet, out var name, out var queried))
        {
            writer.Error(option, NBD_REP_ERR_INVALID, "The name or the list of queries is malformed.");
            return;
        }

        if (find(name) is not { } export)
        {
            unknown(option, name);
            return;
        }

        var contexts = queried & export.Contexts;
        foreach (var (context, _, text) in s_known)
        {
            if ((contexts & context) != 0)
            {
                writer.MetaContext(option, isSet ? (uint)context : 0, text);
            }
        }

        writer.Ack(option);
        if (isSet)
        {
            _exportName = name;
            _selected = contexts;
        }
    }

    private static bool TryParse(ReadOnlySpan<byte> payload, bool isSet, out string name, out NbdMetaContexts queried)
    {
        queried = NbdMetaContexts.None;
        var reader = new OptionReader(payload);
        if (!reader.TryString(out name) || !reader.TryU32(out var count))
        {
            return false;
        }

        // A list without queries is about everything there is; a selection without queries selects nothing.
        queried = count == 0 && !isSet ? NbdMetaContexts.BaseAllocation | NbdMetaContexts.AllocationDepth : NbdMetaContexts.None;
        for (uint i = 0; i < count; i++)
        {
            if (!reader.TryString(out var query))
            {
                return false;
            }

            queried |= Match(query, isSet);
        }

        return reader.Left == 0;
    }

    private static NbdMetaContexts Match(string query, bool isSet)
    {
        var found = NbdMetaContexts.None;
        foreach (var (context, space, name) in s_known)
        {
            // Only a list takes a bare namespace as "everything in it".
            if (string.Equals(query, name, StringComparison.Ordinal) || (!isSet && string.Equals(query, space, StringComparison.Ordinal)))
            {
                found |= context;
            }
        }

        return found;
    }
}
