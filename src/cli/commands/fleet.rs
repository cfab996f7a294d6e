//! `rcsync fleet`: many jobs in one process, and the list of them.

use std::path::PathBuf;
use std::sync::Arc;

use futures::FutureExt as _;
use serde::Serialize;

use crate::cli::command_error::CommandError;
use crate::cli::config_sources;
use crate::cli::format::{shown, shown_value};
use crate::cli::process::Process;
use crate::decide::fleet::again::worse;
use crate::decide::fleet::job_list::{self, Listed};
use crate::decide::fleet::template::Template;
use crate::edge::api::ApiClient;
use crate::edge::api::base_url::ApiBase;
#[cfg(feature = "buckets")]
use crate::engine::bucket::fleet_root::FleetRoot;
#[cfg(feature = "buckets")]
use crate::engine::bucket::run::BucketMirror;
use crate::engine::event::Reporter;
use crate::engine::fleet::api_toll::ApiToll;
use crate::engine::fleet::overview;
use crate::engine::fleet::overview::{Mirrored, Overview};
use crate::engine::fleet::registry::Registry;
use crate::engine::fleet::source::Source;
use crate::engine::fleet::{Fleet, Launch, ReadList, UntilFree};
use crate::engine::mirror::Mirror;
use crate::engine::retry::Persistence;
use crate::engine::transfer::share::Budget;
use crate::error::ExitStatus;
use crate::model::destination::Destination;
use crate::model::job::JobId;
use crate::model::units::ByteCount;

use super::super::args::{Fleet as Typed, FleetAdd, FleetCommand};
use super::super::backend;
use super::super::bucket;
use super::super::bucket::Kind;
use super::super::config::{Settings, Talk};
use super::super::fleet::FleetReporter;
use super::super::options::{Layer as _, SyncArgs};
use super::super::render::lines_of;
use super::super::table::{Column, Room, table};
use super::super::values::Format;
use super::equipment::{self, Equipment};
use super::{Context, until_signal, wait_for};

/// Requests a second to the API by default: twenty jobs are looked at every ten seconds.
const API_RATE: f64 = 4.0;

/// Connections over all jobs by default.
const CONNECTIONS: usize = 32;

pub(super) fn run(context: &Context<'_>, typed: &Typed) -> Result<ExitStatus, CommandError> {
    match &typed.command {
        Some(FleetCommand::Add(add)) => run_add(context, add),
        Some(FleetCommand::Ls(ls)) => run_ls(context, &template(&ls.dest)?),
        None => follow(context, typed),
    }
}

fn follow(context: &Context<'_>, typed: &Typed) -> Result<ExitStatus, CommandError> {
    let (world, settings) = (context.world, &context.settings);
    let given = &settings.sync;
    let is_endless = !given.once && !given.dry_run;
    let persistence = if is_endless { Persistence::Endless } else { Persistence::Pass };
    let (source, to) = source(context, typed, persistence)?;
    let place = Place::of(&to, settings, persistence, None)?;
    let page = match to.root() {
        Destination::Folder(root) if !given.dry_run => Some(root),
        _ => None,
    };
    // What is wrong for all jobs is found out before anything is asked.
    Equipment::settle(world, &place.kind().fit(settings))?;
    let base = backend::api_base(world)?;
    let api = backend::client(world, settings, &base)?;
    let hosts = backend::hosts(settings, &base)?;
    let budget = Budget {
        connections: given.connections.map_or(CONNECTIONS, |connections| connections.get().into()),
        jobs: settings.fleet.jobs.and_then(|jobs| usize::try_from(jobs.get()).ok()),
        limit_rate: given.limit_rate,
    };
    let rate = settings.fleet.api_rate.unwrap_or(API_RATE);
    let hint = match typed.dest {
        Some(_) => "the list names none".to_owned(),
        None => format!("`rcsync fleet add <JOB_ID> '{}'` adds one", shown_value(&to.to_string())),
    };
    wait_for(world, |signals| async move {
        let telling = FleetReporter::new(world, settings, &signals);
        let api = api.through(Arc::new(ApiToll::new(rate)));
        let sharing = place.sharing();
        #[cfg(feature = "buckets")]
        let source = source.reporting_outages_to(telling.clone());
        let launch = launch(world.clone(), settings.clone(), api.clone(), place.clone());
        let fleet = Fleet {
            api,
            hosts,
            source,
            read_list: read_list(world.clone(), settings.clone(), base, place),
            to,
            budget,
            once: !is_endless,
            timeout: given.timeout,
            launch,
            sharing,
            listener: telling.clone(),
            page,
            stop: signals.stop.clone(),
        };
        let ended = fleet.run().await;
        telling.end(ended.as_ref().ok());
        let ended = ended?;
        if ended.is_empty() && !signals.is_ended() && settings.format == Format::Pretty {
            lines_of(world, settings).note(&format!("there is no job to follow: {hint}"));
        }
        let worst = ended.into_values().fold(ExitStatus::Complete, worse);
        Ok(if signals.is_ended() { signals.status() } else { worst })
    })
}

/// Where the jobs of a fleet are mirrored to.
#[derive(Clone)]
enum Place {
    Folder,
    #[cfg(feature = "buckets")]
    Bucket(Arc<FleetRoot>),
}

impl Place {
    /// Gets ready to speak to a bucket, and refuses settings that it has not. Sends nothing. `outages`: where a store that does not
    /// answer is reported; a fleet that follows its jobs reports it itself.
    fn of(
        to: &Template,
        settings: &Settings,
        persistence: Persistence,
        outages: Option<Arc<dyn Reporter>>,
    ) -> Result<Self, CommandError> {
        match to.root() {
            Destination::Folder(_) => {
                Kind::Folder.refuse_unfit(settings)?;
                Ok(Self::Folder)
            }
            #[cfg(feature = "buckets")]
            Destination::Bucket(root) => {
                Kind::Bucket.refuse_unfit(settings)?;
                let options = bucket::options(settings);
                Ok(Self::Bucket(FleetRoot::connect(&root, &options, persistence, outages)?))
            }
            #[cfg(not(feature = "buckets"))]
            Destination::Bucket(root) => {
                // Used by buckets alone.
                let _ = (settings, persistence, outages);
                bucket::destination(std::path::Path::new(&root.to_string())).map(|_| Self::Folder)
            }
        }
    }

    /// Returns the jobs that `fleet add` put there.
    fn registry(&self, to: &Template) -> Registry {
        match (self, to.root()) {
            #[cfg(feature = "buckets")]
            (Self::Bucket(root), _) => Registry::in_bucket(root),
            (_, Destination::Folder(root)) => Registry::below(&root),
            // Refused when the place was made.
            (_, Destination::Bucket(root)) => Registry::below(std::path::Path::new(&root.to_string())),
        }
    }

    /// What several processes need to share the jobs: a name, and how to wait for a job that another one has.
    fn sharing(&self) -> Option<(String, Box<UntilFree>)> {
        match self {
            Self::Folder => None,
            #[cfg(feature = "buckets")]
            Self::Bucket(root) => {
                let root = root.clone();
                let until_free: Box<UntilFree> = Box::new(move |to| {
                    let (root, to) = (root.clone(), to.clone());
                    async move {
                        if let Destination::Bucket(to) = to {
                            root.until_free(&to).await;
                        }
                    }
                    .boxed()
                });
                Some((this_process(), until_free))
            }
        }
    }

    /// Returns what it is.
    const fn kind(&self) -> Kind {
        match self {
            Self::Folder => Kind::Folder,
            #[cfg(feature = "buckets")]
            Self::Bucket(_) => Kind::Bucket,
        }
    }
}

/// The name that distinguishes this process from others that follow the same jobs.
#[cfg(feature = "buckets")]
fn this_process() -> String {
    format!("{} {}", crate::edge::folder::lock::host(), std::process::id())
}

/// Returns where the list comes from and where the jobs go.
fn source(
    context: &Context<'_>,
    typed: &Typed,
    persistence: Persistence,
) -> Result<(Source, Template), CommandError> {
    let world = context.world;
    let first = typed.jobs_or_dest.as_deref().unwrap_or_default();
    let Some(dest) = &typed.dest else {
        let to = template(first).map_err(|error| match error {
            // One word that is no DEST is a list without one.
            CommandError::Misused { why, next } if !first.contains('{') => CommandError::Misused {
                why: format!(
                    "`fleet` takes a list of jobs and a DEST such as `/data/loras/{{name}}`; with DEST alone it follows what `fleet add` put there ({why})"
                ),
                next,
            },
            error => error,
        })?;
        let place = Place::of(&to, &context.settings, persistence, None)?;
        return Ok((Source::Registry(place.registry(&to)), to));
    };
    let to = template(dest)?;
    if first == "-" {
        let text = (world.read_stdin)()
            .map_err(|error| CommandError::BadInput(format!("standard input: {error}")))?;
        return Ok((Source::Text(text), to));
    }
    Ok((Source::File(PathBuf::from(first)), to))
}

const EXAMPLES: &str = "`rcsync help fleets` has examples";

fn template(text: &str) -> Result<Template, CommandError> {
    bucket::refuse_unknown_placeholders(text)?;
    text.parse()
        .map_err(|error| CommandError::misused(format!("DEST `{}`: {error}", shown_value(text)), EXAMPLES))
}

fn read_list(world: Process, settings: Settings, base: ApiBase, place: Place) -> Box<ReadList<SyncArgs>> {
    Box::new(move |text| {
        let id = |text: &str| base.job(text).map_err(|error| format!("`{}`: {error}", shown_value(text)));
        let overrides = |pairs: &[(&str, String)]| overrides(&world, &settings, &place, pairs);
        job_list::parse(text, id, overrides)
    })
}

/// Reads what is different for one job, and finds out whether it can be done.
fn overrides(
    world: &Process,
    settings: &Settings,
    place: &Place,
    pairs: &[(&str, String)],
) -> Result<SyncArgs, String> {
    let given = config_sources::pairs(pairs)?;
    if !pairs.is_empty() {
        let settings = settled(settings, &given);
        place.kind().refuse_unfit(&settings).map_err(|error| error.explain_briefly())?;
        Equipment::settle(world, &place.kind().fit(&settings)).map_err(|error| error.explain_briefly())?;
    }
    Ok(given)
}

fn settled(settings: &Settings, own: &SyncArgs) -> Settings {
    let over = |lower: &SyncArgs| own.clone().over(lower.clone());
    Settings { sync: over(&settings.sync), typed: over(&settings.typed), ..settings.clone() }
}

fn launch(world: Process, settings: Settings, api: ApiClient, place: Place) -> Box<Launch<SyncArgs>> {
    Box::new(move |start| {
        let settings = place.kind().fit(&settled(&settings, &start.job.overrides));
        let equipment = Equipment::settle(&world, &settings);
        let (api, now, place) = (api.clone(), world.now, place.clone());
        async move {
            let Equipment { mut options, followers, hooks } =
                equipment.map_err(CommandError::into_library)?;
            // Connections are shared: how many there are is the fleet's business.
            options.connections = None;
            options.timeout = start.timeout;
            let (job, membership) = (start.job.job.clone(), start.membership);
            let (reporter, stop) = (start.reporter, start.stop);
            match (place, start.to) {
                #[cfg(feature = "buckets")]
                (Place::Bucket(root), Destination::Bucket(to)) => {
                    let bucket = bucket::options(&settings);
                    let hooks = equipment::bucket_hooks(hooks, &job, now);
                    let (to, fleet) = (to.to_string(), Some((membership, root)));
                    BucketMirror { api, job, to, options, bucket, hooks, fleet }.run(reporter, stop).await
                }
                (_, to) => {
                    let dir = match to {
                        Destination::Folder(dir) => dir,
                        Destination::Bucket(url) => url.to_string().into(),
                    };
                    let fleet = Some(membership);
                    let mirror = Mirror { api, job, dir, options, followers, fleet };
                    equipment::run(mirror, hooks, now, reporter, stop).await
                }
            }
        }
        .boxed()
    })
}

fn run_add(context: &Context<'_>, typed: &FleetAdd) -> Result<ExitStatus, CommandError> {
    context.refuse_dry_run("`fleet add`")?;
    let base = backend::api_base(context.world)?;
    let Some((dest, jobs)) = typed.jobs_and_dest.split_last() else {
        return Err(CommandError::misused("`fleet add` takes jobs and a DEST", EXAMPLES));
    };
    let to = template(dest)?;
    let place = Place::of(&to, &context.settings, Persistence::Pass, Some(context.outages()))?;
    let jobs: Vec<JobId> = jobs.iter().map(|job| backend::job_id(job, &base)).collect::<Result<_, _>>()?;
    let lines: Vec<(JobId, String)> = jobs
        .into_iter()
        .map(|job| line(context, &place, &job, &typed.set).map(|line| (job, line)))
        .collect::<Result<_, _>>()?;
    let registry = place.registry(&to);
    let adding = async {
        let mut added = Vec::new();
        for (job, line) in lines {
            let is_new = registry.add(&job, &line).await?;
            added.push(Added { job_id: job.to_string(), added: is_new });
        }
        Ok(added)
    };
    let added = match until_signal(context.world, adding)? {
        Ok(added) => added,
        Err(status) => return Ok(status),
    };
    context.answer(&AddedAll { jobs: added.as_slice(), dest: to.to_string() }, || {
        added
            .iter()
            .map(|row| format!("{}  {}\n", if row.added { "added" } else { "there already" }, row.job_id))
            .collect()
    });
    Ok(ExitStatus::Complete)
}

/// Returns a job's line, which reads back as what was typed.
fn line(context: &Context<'_>, place: &Place, job: &JobId, set: &[String]) -> Result<String, CommandError> {
    let pairs: Vec<(&str, String)> = set
        .iter()
        .map(|pair| pair.split_once('=').map(|(key, value)| (key, value.to_owned())))
        .collect::<Option<_>>()
        .ok_or_else(|| {
            CommandError::misused("`--set` takes an option and its value, such as `keep-last=3`", EXAMPLES)
        })?;
    let line = job_list::line(job, &pairs);
    let id = |text: &str| text.parse::<JobId>().map_err(|error| error.to_string());
    let read = job_list::parse(&line, id, |pairs| overrides(context.world, &context.settings, place, pairs));
    match read {
        Ok(_) => Ok(line),
        Err(faults) => {
            let why = faults.0.into_iter().map(|fault| fault.why.to_string()).collect::<Vec<_>>().join("; ");
            Err(CommandError::misused(format!("`--set`: {why}"), EXAMPLES))
        }
    }
}

#[derive(Serialize)]
struct AddedAll<'a> {
    dest: String,
    jobs: &'a [Added],
}

#[derive(Serialize)]
struct Added {
    job_id: String,
    added: bool,
}

#[derive(Serialize)]
struct Document {
    dest: String,
    jobs: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    job_id: String,
    name: Option<String>,
    status: Option<String>,
    step: Option<u64>,
    total_steps: Option<u64>,
    percent: Option<f64>,
    files: u64,
    bytes: u64,
    /// Whether `fleet add` put it there.
    added: bool,
    path: Option<String>,
}

fn run_ls(context: &Context<'_>, to: &Template) -> Result<ExitStatus, CommandError> {
    let place = Place::of(to, &context.settings, Persistence::Short, Some(context.outages()))?;
    let registry = place.registry(to);
    let looking = async {
        let text = registry.read().await?;
        let found = match (&place, to.root()) {
            #[cfg(feature = "buckets")]
            (Place::Bucket(root), _) => overview::in_bucket(root, to).await?,
            (_, Destination::Folder(root)) => overview::in_folder(&root, to),
            (_, Destination::Bucket(_)) => Overview::default(),
        };
        Ok((text, found))
    };
    let (text, Overview { mirrors, left_out }) = match until_signal(context.world, looking)? {
        Ok(looked) => looked,
        Err(status) => return Ok(status),
    };
    let id = |text: &str| text.parse::<JobId>().map_err(|error| error.to_string());
    let listed = job_list::parse(&text, id, |_| Ok(()));
    let unreadable = listed.as_ref().err();
    let unreadable = unreadable.map(|faults| format!("{} cannot be read: {faults}", registry.description()));
    let left_out = left_out.into_iter().map(|why| format!("not in the list: {why}"));
    if context.settings.talk > Talk::Quiet || context.settings.format == Format::Pretty {
        unreadable.into_iter().chain(left_out).for_each(|text| context.world.err.line(&shown(&text)));
    }
    let document = document(to, &listed.unwrap_or_default(), mirrors);
    context.answer(&document, || words(&document, context.room()));
    Ok(ExitStatus::Complete)
}

fn document(to: &Template, listed: &[Listed<()>], mirrors: Vec<Mirrored>) -> Document {
    let is_listed = |job: &JobId| listed.iter().any(|listed| listed.job == *job);
    let waiting: Vec<&JobId> = listed
        .iter()
        .map(|listed| &listed.job)
        .filter(|job| !mirrors.iter().any(|mirror| mirror.job == **job))
        .collect();
    let waiting: Vec<Row> = waiting.into_iter().map(new_row).collect();
    let mut jobs: Vec<Row> = mirrors.iter().map(|mirror| row(mirror, is_listed(&mirror.job))).collect();
    jobs.extend(waiting);
    Document { dest: to.to_string(), jobs }
}

fn new_row(job: &JobId) -> Row {
    Row {
        job_id: job.to_string(),
        name: None,
        status: None,
        step: None,
        total_steps: None,
        percent: None,
        files: 0,
        bytes: 0,
        added: true,
        path: None,
    }
}

fn row(mirror: &Mirrored, added: bool) -> Row {
    Row {
        job_id: mirror.job.to_string(),
        name: mirror.name.clone(),
        status: mirror.status.as_ref().map(|status| status.as_str().to_owned()),
        step: mirror.progress.current_step,
        total_steps: mirror.progress.total_steps,
        percent: mirror.progress.percent_done(),
        files: mirror.files,
        bytes: mirror.bytes,
        added,
        path: Some(mirror.place.clone()),
    }
}

fn words(document: &Document, room: Option<Room>) -> String {
    let columns = [
        Column::left("job").goes(3),
        Column::left("name"),
        Column::left("status"),
        Column::right("step").goes(4),
        Column::right("files"),
        Column::right("size").goes(2),
        Column::left("added").goes(1),
        Column::left("folder"),
    ];
    let cells = |row: &Row| {
        let steps = match (row.step, row.total_steps) {
            (Some(step), Some(total)) if total > 0 => format!("{step}/{total}"),
            (Some(step), _) => step.to_string(),
            _ => String::new(),
        };
        vec![
            shown(&row.job_id),
            row.name.as_deref().map_or_else(String::new, shown),
            row.status.as_deref().map_or_else(|| "not seen yet".to_owned(), shown),
            steps,
            row.files.to_string(),
            ByteCount(row.bytes).to_string(),
            if row.added { "yes" } else { "" }.to_owned(),
            row.path.as_deref().map_or_else(String::new, shown),
        ]
    };
    let rows: Vec<Vec<String>> = document.jobs.iter().map(cells).collect();
    let bytes = document.jobs.iter().fold(0_u64, |sum, row| sum.saturating_add(row.bytes));
    let files: u64 = document.jobs.iter().map(|row| row.files).sum();
    let count = rows.len();
    let jobs = if count == 1 { "1 job".to_owned() } else { format!("{count} jobs") };
    let sum = format!("{jobs}, {}, {}\n", crate::cli::format::files(files), ByteCount(bytes));
    if rows.is_empty() { sum } else { table(&columns, rows, room) + &sum }
}
