using System.Text;
using BlockMount.Nbd.Tls;
using BlockMount.Nbd.Wire;
using static BlockMount.Nbd.NbdConstants;

namespace BlockMount.Nbd.Handshake;

/// <summary>Answers the options of a fixed newstyle client ("Option types"), and holds what they have agreed on so far.</summary>
/// <param name="isProtected">Whether TLS has been started; what was agreed before is in another object, which nobody looks at again.</param>
internal sealed class OptionAnswers(INegotiationHost host, OptionWriter writer, bool isProtected)
{
    private readonly MetaContextAnswers _contexts = new(writer);

    /// <summary>How replies will be framed, as far as the client has asked.</summary>
    public NbdReplyStyle Style { get; private set; }

    /// <summary>Set when the client was told that TLS begins.</summary>
    public bool TlsBegins { get; private set; }

    /// <summary>Whether nothing may be answered before TLS ("FORCEDTLS mode").</summary>
    public bool NeedsTls => !isProtected && host.Tls == NbdTlsMode.Require;

    /// <summary>Set when the handshake is over.</summary>
    public NbdSession? Session { get; private set; }

    /// <summary>Answers one option with its whole payload; false when the client ends the session.</summary>
    public bool Answer(uint option, ReadOnlySpan<byte> payload)
    {
        if (option == NBD_OPT_ABORT)
        {
            writer.Ack(option);
            return false;
        }

        if (host.IsStopping)
        {
            writer.Error(option, NBD_REP_ERR_SHUTDOWN, "The server is stopping.");
            return true;
        }

        if (NeedsTls && option != NBD_OPT_STARTTLS)
        {
            TlsRequired(option);
            return true;
        }

        switch (option)
        {
            case NBD_OPT_LIST:
                List(payload);
                break;
            case NBD_OPT_STARTTLS:
                StartTls(payload);
                break;
            case NBD_OPT_INFO or NBD_OPT_GO:
                InfoOrGo(option, payload);
                break;
            case NBD_OPT_STRUCTURED_REPLY:
                StructuredReply(payload);
                break;
            case NBD_OPT_EXTENDED_HEADERS:
                ExtendedHeaders(payload);
                break;
            case NBD_OPT_LIST_META_CONTEXT or NBD_OPT_SET_META_CONTEXT:
                _contexts.Answer(option, payload, Style, Find, Unknown);
                break;
            default:
                writer.Error(option, NBD_REP_ERR_UNSUP, $"Option {option} is not supported.");
                break;
        }

        return true;
    }

    /// <summary>Refuses an option whose payload was too long to look at; false when the client ends the session.</summary>
    public bool TooLong(uint option)
    {
        if (option == NBD_OPT_SET_META_CONTEXT)
        {
            _contexts.Clear();
        }

        if (NeedsTls && option is not (NBD_OPT_ABORT or NBD_OPT_STARTTLS))
        {
            TlsRequired(option);
            return true;
        }

        switch (option)
        {
            case NBD_OPT_ABORT:
                writer.Ack(option);
                return false;
            case NBD_OPT_LIST or NBD_OPT_STARTTLS or NBD_OPT_STRUCTURED_REPLY or NBD_OPT_EXTENDED_HEADERS:
                writer.Error(option, NBD_REP_ERR_INVALID, $"Option {option} has no payload.");
                return true;
            case NBD_OPT_INFO or NBD_OPT_GO or NBD_OPT_LIST_META_CONTEXT or NBD_OPT_SET_META_CONTEXT:
                writer.Error(option, NBD_REP_ERR_TOO_BIG, $"Option {option} may have {Negotiation.MaxOptionPayload} bytes of payload.");
                return true;
            default:
                writer.Error(option, NBD_REP_ERR_UNSUP, $"Option {option} is not supported.");
                return true;
        }
    }

    /// <summary>The export of exactly that name, or the default one for the empty name.</summary>
    public NbdExport? Find(string name)
    {
        foreach (var export in host.Exports)
        {
            if (string.Equals(export.Name, name, StringComparison.Ordinal))
            {
                return export;
            }
        }

        return name.Length == 0 ? host.Default : null;
    }

    /// <summary>The transmission flags of an export for a client that would enter it now, by that name.</summary>
    public ushort FlagsOf(NbdExport export, string name) =>
        export.TransmissionFlags(Style, _contexts.SelectedFor(name), host.MultiConnection);

    public void Choose(NbdExport export, string name) =>
        Session = new NbdSession(export, Style, _contexts.SelectedFor(name));

    private void List(ReadOnlySpan<byte> payload)
    {
        if (!payload.IsEmpty)
        {
            writer.Error(NBD_OPT_LIST, NBD_REP_ERR_INVALID, "LIST has no payload.");
            return;
        }

        foreach (var export in host.Exports)
        {
            writer.Server(NBD_OPT_LIST, export.Name, export.Description);
        }

        writer.Ack(NBD_OPT_LIST);
    }

    private void StartTls(ReadOnlySpan<byte> payload)
    {
        if (!payload.IsEmpty)
        {
            writer.Error(NBD_OPT_STARTTLS, NBD_REP_ERR_INVALID, "STARTTLS has no payload.");
        }
        else if (isProtected)
        {
            writer.Error(NBD_OPT_STARTTLS, NBD_REP_ERR_INVALID, "TLS has been started already.");
        }
        else if (host.Tls == NbdTlsMode.Off)
        {
            writer.Error(NBD_OPT_STARTTLS, NBD_REP_ERR_POLICY, "TLS is not configured for this way in.");
        }
        else
        {
            writer.Ack(NBD_OPT_STARTTLS);
            TlsBegins = true;
        }
    }

    private void TlsRequired(uint option) =>
        writer.Error(option, NBD_REP_ERR_TLS_REQD, "This server requires TLS; start it with STARTTLS first.");

    private void StructuredReply(ReadOnlySpan<byte> payload)
    {
        if (!payload.IsEmpty)
        {
            writer.Error(NBD_OPT_STRUCTURED_REPLY, NBD_REP_ERR_INVALID, "STRUCTURED_REPLY has no payload.");
            return;
        }

        if (Style == NbdReplyStyle.Extended)
        {
            // Going back is not among what a client may do: its requests would be of one style and the replies of another.
            writer.Error(NBD_OPT_STRUCTURED_REPLY, NBD_REP_ERR_EXT_HEADER_REQD, "Extended headers are in use.");
            return;
        }

        Style = NbdReplyStyle.Structured;
        writer.Ack(NBD_OPT_STRUCTURED_REPLY);
    }

    private void ExtendedHeaders(ReadOnlySpan<byte> payload)
    {
        if (!payload.IsEmpty)
        {
            writer.Error(NBD_OPT_EXTENDED_HEADERS, NBD_REP_ERR_INVALID, "EXTENDED_HEADERS has no payload.");
            return;
        }

        Style = NbdReplyStyle.Extended;
        writer.Ack(NBD_OPT_EXTENDED_HEADERS);
    }

    private void InfoOrGo(uint option, ReadOnlySpan<byte> payload)
    {
        var reader = new OptionReader(payload);
        if (!reader.TryString(out var name) || !reader.TryU16(out var count) || reader.Left != 2 * count)
        {
            writer.Error(option, NBD_REP_ERR_INVALID, "The name or the list of information requests is malformed.");
            return;
        }

        if (Find(name) is not { } export)
        {
            Unknown(option, name);
            return;
        }

        bool wantsName = false, wantsDescription = false;
        while (reader.TryU16(out var information))
        {
            wantsName |= information == NBD_INFO_NAME;
            wantsDescription |= information == NBD_INFO_DESCRIPTION;
        }

        if (option == NBD_OPT_GO && host.TryAdmit() is { } refusal)
        {
            writer.Error(option, NBD_REP_ERR_POLICY, refusal);
            return;
        }

        writer.InfoExport(option, (ulong)export.Size, FlagsOf(export, name));

        // Sent without being asked: the device enforces its alignment and payloads have a limit. A client that does not ask is not turned
        // away with BLOCK_SIZE_REQD: kernels get their block size from whoever attaches them and never ask, and a request that is off the
        // alignment is refused with EINVAL and changes nothing.
        writer.InfoBlockSize(option, export.MinimumBlockSize, export.PreferredBlockSize, MaxPayload);
        if (wantsName)
        {
            writer.InfoText(option, NBD_INFO_NAME, export.Name);
        }

        if (wantsDescription && export.Description.Length > 0)
        {
            writer.InfoText(option, NBD_INFO_DESCRIPTION, export.Description);
        }

        writer.Ack(option);
        if (option == NBD_OPT_GO)
        {
            Choose(export, name);
        }
    }

    private void Unknown(uint option, string name) =>
        writer.Error(option, NBD_REP_ERR_UNKNOWN, $"No export is called \"{Shown(name)}\".");

    /// <summary>A name from the wire as it may stand in a sentence: short, and without anything a terminal would obey.</summary>
    private static string Shown(string name)
    {
        var shown = new StringBuilder();
        foreach (var rune in name.EnumerateRunes())
        {
            if (shown.Length >= 80)
            {
                return shown.Append('…').ToString();
            }

            shown.Append(Rune.IsControl(rune) ? "?" : rune.ToString());
        }

        return shown.ToString();
    }
}
