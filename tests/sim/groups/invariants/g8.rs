//! G8: whoever is no member is told so, and whoever's instance has a newer id is told that; nobody
//! else is. Errors have a reason.

use rivvend::coordinator::{GroupError, Request, Text};

use super::require;
use crate::groups::history::{Asked, Fact, History, Instance};
use crate::history::Broken;

pub(crate) fn check(fact: &Fact<'_>, history: &History) -> Result<(), Broken> {
    match fact {
        Fact::Refused { asked, error } => refused(asked, error, history),
        Fact::Accepted { asked } => accepted(asked, history),
        _ => Ok(()),
    }
}

fn refused(asked: &Asked<'_>, error: &GroupError, history: &History) -> Result<(), Broken> {
    match error {
        GroupError::FencedInstance => {
            // It was to get an id, and then another request for one came.
            if let Request::Join(join) = asked.request
                && let (None, Some(instance)) = (&join.member, &join.instance)
            {
                let key = (Text::clone(&join.group), Text::clone(instance));
                let last = history.instances.get(&key).map_or(0, |instance| instance.asked);
                return require(last > asked.arrived, || format!("{instance} is fenced by nobody"));
            }
            let Some((instance, id)) = instance_of(asked.request, history) else {
                return Err(format!("{:?} is fenced and names no instance", asked.request));
            };
            let Some((born, _)) = instance.ids.get(id) else { return Ok(()) };
            require(instance.asked > *born, || {
                format!("{id} is fenced and nobody came after it: {:?}", asked.request)
            })
        }
        GroupError::NotAvailable(why) => {
            require(!asked.sound, || format!("{:?} is refused for no reason: {why}", asked.request))
        }
        GroupError::UnknownMember if asked.fenced => {
            Err(format!("{:?} is not told that its instance has another id", asked.request))
        }
        GroupError::UnknownMember
        | GroupError::IllegalGeneration { .. }
        | GroupError::RebalanceInProgress => require(!asked.calm, || {
            format!("nothing is wrong and {:?} is refused: {error}", asked.request)
        }),
        GroupError::Loading
        | GroupError::MemberIdRequired
        | GroupError::NotEmpty
        | GroupError::NotFound
        | GroupError::Subscribed => Ok(()),
        other => Err(format!("{:?} is refused: {other}", asked.request)),
    }
}

fn accepted(asked: &Asked<'_>, history: &History) -> Result<(), Broken> {
    if let Some((instance, id)) = instance_of(asked.request, history)
        && let Some((born, _)) = instance.ids.get(id)
    {
        let mut later = instance.ids.values().filter(|(other, _)| other > born);
        require(!later.any(|(_, told)| *told < asked.arrived), || {
            format!("{id} is taken for a member, and its instance has a newer id")
        })?;
    }
    let Some((group, member, _)) = names(asked.request) else { return Ok(()) };
    let left = history.left.get(&(Text::clone(group), Text::clone(member)));
    require(left != Some(&history.process), || {
        format!("{member} has left and is taken for a member: {:?}", asked.request)
    })
}

/// The instance that a request speaks for, and the id that it gives.
fn instance_of<'a>(request: &'a Request, history: &'a History) -> Option<(&'a Instance, &'a Text)> {
    let (group, member, instance) = names(request)?;
    let key = (Text::clone(group), Text::clone(instance?));
    Some((history.instances.get(&key)?, member))
}

/// The group, the member and the instance that a request names.
pub(crate) fn names(request: &Request) -> Option<(&Text, &Text, Option<&Text>)> {
    let (group, member, instance) = match request {
        Request::Join(join) => (&join.group, join.member.as_ref()?, &join.instance),
        Request::Sync(sync) => (&sync.group, &sync.member, &sync.instance),
        Request::Heartbeat(beat) => (&beat.group, &beat.member, &beat.instance),
        Request::Commit(commit) => (&commit.group, commit.member.as_ref()?, &commit.instance),
        _ => return None,
    };
    Some((group, member, instance.as_ref()))
}
