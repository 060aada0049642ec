using System.Buffers;
using System.Buffers.Binary;
using BlockMount.Nbd.Wire;
using static BlockMount.Nbd.NbdConstants;

namespace BlockMount.Nbd.Handshake;

internal enum NegotiationState
{
    /// <summary>Feed more bytes.</summary>
    NeedsMore,

    /// <summary>Send what was written; the next byte is the first of the transmission phase.</summary>
    Done,

    /// <summary>Send what was written, shake hands in TLS, call <see cref="Negotiation.TlsStarted"/> and feed what comes protected.</summary>
    StartTls,

    /// <summary>Send what was written and close.</summary>
    Closed,
}

/// <summary>
/// The handshake as a state machine ("Fixed newstyle negotiation"): fed with bytes, it writes answers. It owns no socket and no clock.
/// A payload is always consumed before it is refused, so that the peers stay in step.
/// </summary>
internal sealed class Negotiation
{
    /// <summary>The longest option payload looked at, in bytes; a longer one is skipped and refused.</summary>
    public const int MaxOptionPayload = 64 << 10;

    /// <summary>The longest option payload skipped, in bytes; a longer one ends the connection.</summary>
    public const int MaxSkippedPayload = 32 << 20;

    private readonly INegotiationHost _host;
    private readonly IBufferWriter<byte> _output;
    private readonly OptionWriter _writer;
    private readonly int _maxOptions;
    private OptionAnswers _answers;
    private bool _hasFlags, _isFixed, _padding;
    private int _options;
    private uint _skip, _skippedOption;

    public Negotiation(INegotiationHost host, IBufferWriter<byte> output)
    {
        _host = host;
        _output = output;
        _writer = new OptionWriter(output);
        _answers = new OptionAnswers(host, _writer, isProtected: false);

        // A client that looks at every export asks a few questions about each; one that asks for ever is not a client.
        _maxOptions = checked(32 + (32 * host.Exports.Count));
        _writer.Greeting(NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES);
    }

    /// <summary>What was agreed, once the state is <see cref="NegotiationState.Done"/>.</summary>
    public NbdSession? Session => _answers.Session;

    /// <summary>Why the connection is closed, for the log.</summary>
    public string? CloseReason { get; private set; }

    /// <summary>Takes as many whole messages as there are; call again with the bytes not consumed and more behind them.</summary>
    public NegotiationState Advance(ReadOnlySpan<byte> input, out int consumed)
    {
        consumed = 0;
        while (true)
        {
            var state = Step(input[consumed..], out var taken);
            consumed += taken;
            if (state != NegotiationState.NeedsMore || taken == 0)
            {
                return state;
            }
        }
    }

    /// <summary>Forgets all that was agreed in the clear, where somebody between the peers could have had a say in it ("NBD_OPT_STARTTLS").</summary>
    public void TlsStarted() => _answers = new OptionAnswers(_host, _writer, isProtected: true);

    private NegotiationState Step(ReadOnlySpan<byte> input, out int taken)
    {
        taken = 0;
        if (_skip > 0)
        {
            return Skip(input, out taken);
        }

        if (!_hasFlags)
        {
            return input.Length < 4 ? NegotiationState.NeedsMore : ClientFlags(BinaryPrimitives.ReadUInt32BigEndian(input), out taken);
        }

        if (input.Length < OptionHeaderSize)
        {
            return NegotiationState.NeedsMore;
        }

        var option = BinaryPrimitives.ReadUInt32BigEndian(input[8..]);
        var length = BinaryPrimitives.ReadUInt32BigEndian(input[12..]);
        if (BinaryPrimitives.ReadUInt64BigEndian(input) != IHAVEOPT)
        {
            return Close("an option does not start with IHAVEOPT");
        }

        if (length > MaxSkippedPayload || (option == NBD_OPT_EXPORT_NAME && length > MaxStringLength))
        {
            return Close($"option {option} announces {length} bytes");
        }

        if (!_isFixed && option != NBD_OPT_EXPORT_NAME)
        {
            return Close($"option {option} from a client without fixed newstyle");
        }

        if (length <= MaxOptionPayload)
        {
            return input.Length < OptionHeaderSize + (int)length
                ? NegotiationState.NeedsMore
                : Option(option, input.Slice(OptionHeaderSize, (int)length), out taken);
        }

        taken = OptionHeaderSize;
        _skip = length;
        _skippedOption = option;
        return NegotiationState.NeedsMore;
    }

    private NegotiationState ClientFlags(uint flags, out int taken)
    {
        taken = 4;
        if ((flags & ~(NBD_FLAG_C_FIXED_NEWSTYLE | NBD_FLAG_C_NO_ZEROES)) != 0)
        {
            return Close($"unknown client flags 0x{flags:x8}");
        }

        _hasFlags = true;
        _isFixed = (flags & NBD_FLAG_C_FIXED_NEWSTYLE) != 0;
        _padding = (flags & NBD_FLAG_C_NO_ZEROES) == 0;
        return NegotiationState.NeedsMore;
    }

    private NegotiationState Skip(ReadOnlySpan<byte> input, out int taken)
    {
        taken = (int)Math.Min(_skip, (uint)input.Length);
        _skip -= (uint)taken;
        if (_skip > 0)
        {
            return NegotiationState.NeedsMore;
        }

        return CountOption() ?? (_answers.TooLong(_skippedOption) ? NegotiationState.NeedsMore : Close("aborted by the client"));
    }

    private NegotiationState Option(uint option, ReadOnlySpan<byte> payload, out int taken)
    {
        taken = OptionHeaderSize + payload.Length;
        if (CountOption() is { } closed)
        {
            return closed;
        }

        if (option == NBD_OPT_EXPORT_NAME)
        {
            return ExportName(payload);
        }

        var goesOn = _answers.Answer(option, payload);
        if (_answers.TlsBegins)
        {
            return NegotiationState.StartTls;
        }

        return Session is not null ? NegotiationState.Done : goesOn ? NegotiationState.NeedsMore : Close("aborted by the client");
    }

    private NegotiationState? CountOption() =>
        ++_options > _maxOptions ? Close($"more than {_maxOptions} options") : null;

    /// <summary>This option cannot say no: whatever is wrong ends the connection.</summary>
    private NegotiationState ExportName(ReadOnlySpan<byte> payload)
    {
        if (_answers.NeedsTls)
        {
            return Close("TLS is required");
        }

        if (_answers.Style == NbdReplyStyle.Extended)
        {
            return Close("EXPORT_NAME after extended headers");
        }

        if (!OptionReader.TryText(payload, out var name) || _answers.Find(name) is not { } export)
        {
            return Close("no export of the name asked for");
        }

        if (_host.IsStopping)
        {
            return Close("the server is stopping");
        }

        if (_host.TryAdmit() is { } refusal)
        {
            return Close(refusal);
        }

        _answers.Choose(export, name);
        _writer.ExportNameReply((ulong)export.Size, _answers.FlagsOf(export, name), _padding);
        return NegotiationState.Done;
    }

    private NegotiationState Close(string reason)
    {
        CloseReason = reason;
        return NegotiationState.Closed;
    }
}
